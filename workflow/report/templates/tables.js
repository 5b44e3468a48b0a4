// The tables: DataTables sorts, searches, filters and exports; a line tells where it comes from.
const TABLES = new Map(DATA.tables.map((table) => [table.name, table]));
const built = new Map(); // name -> DataTable
let library = null;

function loadLibrary() {
  library ??= (async () => {
    const source = JSON.parse(byId("datatables").textContent);
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const { default: DataTable } = await import(url);
    URL.revokeObjectURL(url);
    return DataTable;
  })();
  return library;
}

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
    if (kind !== "sort" && kind !== "type") return display(value);
    return numeric ? leading(value) : String(value ?? "").toLowerCase();
  };
  return { title: escaped(title), data: index, render, type: numeric ? "num" : "string", className: numeric ? "number" : "" };
}

function provenanceOf(index) {
  const { keys, rows, versions, machines } = DATA.provenance;
  const told = rows[index];
  const pairs = keys.map((key, place) => [key, told[place] ?? "unknown"]);
  return [...pairs, ["versions", versions[told.at(-2)]], ["machine", machines[told.at(-1)]]];
}

function hint(table, index) {
  if (table.name !== "rows") return table.provenance[table.told[index]] ?? "";
  const told = new Map(provenanceOf(index));
  const threads = table.lines[index][table.columns.findIndex((c) => c.key === "threads")];
  const lines = ["commit", "machine", "versions"].map((key) => `${key}: ${told.get(key === "commit" ? "git commit" : key)}`);
  return [...lines, `threads: ${threads ?? "not set"}`, `started: ${told.get("started")}`].join("\n");
}

function showProvenance(index) {
  const list = byId("provenance").querySelector("dl");
  const pairs = provenanceOf(index);
  list.replaceChildren(...pairs.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));
  byId("copy-command").onclick = (event) => copy(new Map(pairs).get("command"), event.currentTarget);
  byId("provenance").showModal();
}

function infoColumn() {
  const render = (_value, kind, _line, { row }) =>
    kind === "display" ? `<button type="button" class="info" data-row="${row}" aria-label="Provenance of row ${row + 1}">i</button>` : row;
  return { title: '<span class="hidden">provenance</span>', data: null, orderable: false, searchable: false, render, className: "told" };
}

function buttons(table) {
  const shown = { extend: "csv", text: "CSV as shown", filename: table.name, exportOptions: { columns: ":not(.told)" } };
  const whole = {
    text: "CSV, all columns", action: () => save(table.data_csv, `${table.name}.csv`, "text/csv"),
  };
  return table.data_csv ? [shown, whole] : [shown];
}

async function build(details) {
  const table = TABLES.get(details.dataset.table);
  if (built.has(table.name)) return built.get(table.name);
  const node = details.querySelector("table");
  const ready = loadLibrary().then((DataTable) => {
    const told = table.name === "rows" ? [infoColumn()] : [];
    const columns = [...told, ...table.columns.map((c, index) => column(c, index))];
    const made = new DataTable(node, {
      data: table.lines, columns, order: [], deferRender: true, autoWidth: false, pageLength: 25, paging: table.lines.length > 25,
      createdRow: (line, _data, index) => { line.title = hint(table, index); },
      layout: { topStart: { buttons: buttons(table) }, topEnd: "search", bottomStart: "info", bottomEnd: "paging" },
    });
    filters(table, made, details, told.length);
    return made;
  });
  built.set(table.name, ready);
  return ready;
}

function filters(table, made, details, offset) {
  const box = details.querySelector(".filters");
  for (const key of table.filters) {
    const index = table.columns.findIndex((c) => c.key === key);
    const values = [...new Set(table.lines.map((line) => line[index]))].filter((v) => v !== null);
    if (values.length < 2) continue;
    values.sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
    const select = make("select", { name: key }, make("option", { value: "" }, "all"));
    select.append(...values.map((value) => make("option", { value: String(value) }, String(value))));
    select.addEventListener("change", () => only(made, index + offset, select.value ? [select.value] : []).draw());
    box.append(make("label", {}, table.columns[index].title, " ", select));
  }
}

function only(made, index, values) {
  const wanted = new Set(values);
  return made.column(index).search(values.length ? (text) => wanted.has(text) : "");
}

async function showRows(wanted) {
  const details = byId("table-rows");
  details.open = true;
  const made = await build(details);
  const { columns } = TABLES.get("rows");
  for (const select of all(".filters select", details)) select.value = "";
  columns.forEach(({ key }, index) => only(made, index + 1, wanted[key] ?? []));
  made.search("").draw();
  for (const [key, values] of Object.entries(wanted)) {
    const select = details.querySelector(`.filters select[name=${key}]`);
    if (select && values.length === 1) select.value = values[0];
  }
}

function startTables() {
  for (const details of all("details[data-table]")) {
    details.addEventListener("toggle", () => { if (details.open) build(details); });
  }
  byId("table-rows").addEventListener("click", ({ target }) => {
    if (target.matches(".info")) showProvenance(Number(target.dataset.row));
  });
  byId("close").addEventListener("click", () => byId("provenance").close());
  return build(byId("table-rows"));
}
