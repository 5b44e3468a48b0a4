// What all parts share: the page's data, packed libraries, the ink of light and dark, small helpers.
// Text is set as text, never as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const DARK = matchMedia("(prefers-color-scheme: dark)");
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

// Libraries are unpacked and parsed when they are first needed.
const libraries = {};
async function load(id) {
  const src = URL.createObjectURL(new Blob([await unpacked(byId(id).textContent)], { type: "text/javascript" }));
  if (id === "datatables") return (await import(src)).default;
  await new Promise((done, failed) => document.head.append(make("script", { src, onload: done, onerror: failed })));
  return window.Plotly;
}
const library = (id) => (libraries[id] ??= load(id));

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 2500);
}
