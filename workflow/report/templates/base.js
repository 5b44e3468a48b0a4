// What all parts share: the page's data, packed libraries, the ink of light and dark, small helpers.
// Text is set as text, never as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// What the reader chose stands in the address: chart, panel, models, words, trace, head, layer, position.
const state = {};
function readState() {
  if (location.hash.includes("=")) Object.assign(state, Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
}

function keep(changes) {
  Object.assign(state, changes);
  for (const key of Object.keys(state)) if (state[key] === "") delete state[key];
  history.replaceState(null, "", `#${new URLSearchParams(state)}`);
}

async function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function blobOf(id) {
  return URL.createObjectURL(new Blob([await unpacked(byId(id).textContent)], { type: "text/javascript" }));
}

// Libraries are unpacked and parsed when they are first needed.
const libraries = new Map();
function library(name, load) {
  if (!libraries.has(name)) libraries.set(name, load(name));
  return libraries.get(name);
}

const plotly = () => library("plotly", async (name) => {
  const src = await blobOf(name);
  await new Promise((done, failed) => document.head.append(make("script", { src, onload: done, onerror: failed })));
  return window.Plotly;
});

const dataTables = () => library("datatables", async (name) => (await import(await blobOf(name))).default);

function isDark() {
  const chosen = byId("theme").value;
  return chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

function ink() {
  return isDark()
    ? { text: "#e8eaed", grid: "#343a43", ground: "#15181d" }
    : { text: "#1d2127", grid: "#dfe3e8", ground: "#ffffff" };
}

function onTheme(redraw) {
  byId("theme").addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

function applyTheme() {
  document.documentElement.style.colorScheme = byId("theme").value;
  document.documentElement.classList.toggle("dark", isDark()); // DataTables' own name for it
}

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 2500);
}
