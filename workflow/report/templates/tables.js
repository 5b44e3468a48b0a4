// The tables: DataTables sorts, searches, builds filters and exports; every line tells the rows that it rests on.
const TABLES = new Map(DATA.tables.map((table) => [table.name, table]));
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

function column([title, numeric], index) {
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

// The rows behind a number: each with its command, and where and when it was measured.
function showOrigin(numbers) {
  const { keys, rows, versions } = DATA.origin;
  const command = keys.indexOf("command");
  const said = (key, value) => (key === "versions" ? versions[value] : value ?? "unknown");
  byId("origins").replaceChildren(...numbers.map((number) => {
    const pairs = keys.flatMap((key, place) => [make("dt", {}, key), make("dd", {}, said(key, rows[number][place]))]);
    const summary = make("summary", {}, make("code", {}, rows[number][command]));
    return make("details", { open: numbers.length === 1 }, summary, make("dl", {}, ...pairs));
  }));
  byId("origin-count").textContent = numbers.length === 1 ? "One row." : `${numbers.length} rows; each opens.`;
  const commands = numbers.map((number) => rows[number][command]).join("\n");
  byId("copy-command").onclick = (event) => copy(commands, event.currentTarget);
  byId("provenance").showModal();
}

function saveAll(table) {
  const href = URL.createObjectURL(new Blob([table.csv], { type: "text/csv" }));
  make("a", { href, download: `${table.name}.csv` }).click();
}

async function build(details) {
  const table = TABLES.get(details.dataset.table);
  const DataTable = await library("datatables");
  const shown = { extend: "csv", text: "CSV of these lines", filename: table.name, exportOptions: { columns: ":not(.told)", orthogonal: "filter" } };
  const whole = { text: "CSV, all columns", action: () => saveAll(table) };
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
  const named = () => { for (const nav of all("nav", details)) nav.setAttribute("aria-label", `Pages of ${table.title}`); };
  made.on("draw", named);
  named();
}

function startTables() {
  for (const details of all("details[data-table]")) {
    const open = () => { if (details.open) { details.removeEventListener("toggle", open); build(details); } };
    details.addEventListener("toggle", open);
  }
  byId("close").addEventListener("click", () => byId("provenance").close());
}
