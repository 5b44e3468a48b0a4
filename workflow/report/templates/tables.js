// The tables: DataTables sorts, searches, builds filters and exports; every line tells the rows that it rests on.
const TABLES = new Map(DATA.tables.map((table) => [table.name, table]));
const built = new Map(); // name -> DataTable
const SIGNS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (value) => String(value).replace(/[&<>"']/g, (sign) => SIGNS[sign]);

function leading(value) {
  const found = /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?/i.exec(String(value ?? ""));
  return found ? Number(found[0].replaceAll(",", "")) : -Infinity;
}

function display(value) {
  if (value === null) return "–";
  if (typeof value !== "number") return escaped(value);
  return Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(4)));
}

function column({ title, numeric }, index) {
  const render = (value, kind) => {
    if (kind === "display") return display(value);
    if (numeric && kind !== "filter") return leading(value);
    return value ?? "";
  };
  return { title: escaped(title), data: index, render, type: numeric ? "num" : "string", className: numeric ? "number" : "" };
}

function infoColumn(table) {
  const render = (_value, kind, _line, { row }) => (kind === "display" && table.rows[row].length
    ? `<button type="button" class="info" data-line="${row}" aria-label="Rows behind line ${row + 1}">i</button>` : "");
  return { title: '<span class="hidden">rows</span>', data: null, orderable: false, searchable: false, render, className: "told" };
}

function originOf(index) {
  const { keys, rows, versions, machines } = DATA.origin;
  const values = rows[index];
  const pairs = keys.map((key, place) => [key, values[place] ?? "unknown"]);
  return [...pairs, ["versions", versions[values.at(-2)]], ["machine", machines[values.at(-1)]]];
}

// The rows behind a number: each with its command, and where and when it was measured.
function showOrigin(rows) {
  const commands = rows.map((row) => new Map(originOf(row)).get("command"));
  byId("origins").replaceChildren(...rows.map((row, place) => {
    const pairs = originOf(row).flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]);
    return make("details", { open: rows.length === 1 }, make("summary", {}, make("code", {}, commands[place])), make("dl", {}, ...pairs));
  }));
  byId("origin-count").textContent = rows.length === 1 ? "One row." : `${rows.length} rows; each opens.`;
  byId("copy-command").onclick = (event) => copy(commands.join("\n"), event.currentTarget);
  byId("provenance").showModal();
}

async function build(details) {
  const table = TABLES.get(details.dataset.table);
  const DataTable = await dataTables();
  if (built.has(table.name)) return built.get(table.name);
  const shown = { extend: "csv", text: "CSV of these lines", filename: table.name, exportOptions: { columns: ":not(.told)", orthogonal: "filter" } };
  const whole = { text: "CSV, all columns", action: () => save(table.csv, `${table.name}.csv`) };
  const made = new DataTable(details.querySelector("table"), {
    data: table.lines, columns: [infoColumn(table), ...table.columns.map(column)], order: [], deferRender: true, autoWidth: false,
    pageLength: 25, paging: table.lines.length > 25, searchBuilder: { columns: ":not(.told)" },
    language: { searchBuilder: { title: { 0: "Filters", _: "Filters (%d)" }, add: "Add filter" } },
    layout: {
      top2: "searchBuilder", topStart: { buttons: table.csv ? [shown, whole] : [shown] }, topEnd: "search",
      bottomStart: "info", bottomEnd: "paging",
    },
  });
  details.querySelector("table").addEventListener("click", ({ target }) => {
    if (target.matches(".info")) showOrigin(table.rows[Number(target.dataset.line)]);
  });
  built.set(table.name, made);
  const named = () => { for (const nav of all("nav", details)) nav.setAttribute("aria-label", `Pages of ${table.title}`); };
  made.on("draw", named);
  named();
  return made;
}

// wanted: column -> the values of which a row has one; shown as filters that the reader can change.
async function showRows(wanted) {
  const details = byId("table-rows");
  details.open = true;
  const made = await build(details);
  const criteria = Object.entries(wanted).map(([data, values]) => ({
    logic: "OR", criteria: values.map((value) => ({ condition: "=", data, value: [value] })),
  }));
  made.search("").searchBuilder.rebuild({ logic: "AND", criteria });
}

function startTables() {
  for (const details of all("details[data-table]")) {
    details.addEventListener("toggle", () => { if (details.open) build(details); });
  }
  byId("close").addEventListener("click", () => byId("provenance").close());
}
