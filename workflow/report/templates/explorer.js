// The pointer explorer: a traced model, a head, a layer, a position and a window; clicks, sliders and keys move them.
const view = { trace: null, hops: null, tokens: null, head: 0, layer: 0, position: 0, from: 0, width: 64 };
const SMALLEST = 24; // positions in the closest zoom
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

async function openTrace(index) {
  const trace = DATA.traced[index];
  const { hops, tokens } = JSON.parse(await unpacked(trace.packed));
  const asked = String(index) === state.trace ? state : {};
  const { head = 0, layer = longestLayer(hops), position = trace.length - 1 } = asked;
  Object.assign(view, { trace, hops, tokens, head: Number(head), layer: Number(layer), position: Number(position) });
  fit(byId("arcs").clientWidth / 16);
  byId("head").replaceChildren(...hops[0].map((_, head) => make("option", { value: head }, String(head + 1))));
  byId("head-label").hidden = trace.heads < 2;
  byId("head").value = view.head;
  byId("layer").max = trace.layers;
  byId("position").max = trace.length - 1;
  follow();
}

function longestLayer(hops) {
  const last = hops.map((heads) => Math.max(...heads.map((head) => head.at(-1))));
  return last.indexOf(Math.max(...last));
}

function chainOf(position) {
  const chain = [position];
  for (let layer = view.trace.layers - 1; layer >= 0; layer -= 1) {
    const here = chain.at(-1);
    chain.push(here - view.hops[layer][view.head][here]);
  }
  return chain;
}

const letter = (token) => (token > 32 && token < 127 ? String.fromCharCode(token) : "·");
const symbol = (token) => (view.trace.distance === null ? letter(token) : String(token));
const named = (position) => (view.tokens ? `position ${position} (symbol ${symbol(view.tokens[position])})` : `position ${position}`);

// After a move of the position: the window keeps the chain's hop of the chosen layer in sight.
function follow() {
  const { length, layers } = view.trace;
  view.position = clamp(view.position, 0, length - 1);
  const node = chainOf(view.position)[layers - 1 - view.layer];
  if (node < view.from || node > view.from + view.width - 1) view.from = node - view.width + 1 + Math.floor(view.width / 8);
  drawExplorer();
}

function drawExplorer() {
  const { trace, layer, position } = view;
  view.from = clamp(view.from, 0, trace.length - view.width);
  const chain = chainOf(position), hops = view.hops[layer][view.head];
  const asked = trace.distance !== null && position >= trace.distance ? position - trace.distance : null;
  const node = chain[trace.layers - 1 - layer];
  const focused = byId("arcs").contains(document.activeElement);
  const spoken = `${named(position)}; in layer ${layer + 1} ${named(node)} points at ${named(node - hops[node])}`;
  const shared = { from: view.from, to: view.from + view.width - 1, tokens: view.tokens, say: symbol };
  const arcs = drawArcs(byId("arcs"), { ...shared, hops, chosen: position, node, spoken });
  const rails = drawChain(byId("chain"), { ...shared, chain, length: trace.length, layer: layer + 1, asked });
  for (const drawing of [arcs, rails]) drawing.svg.addEventListener("click", (event) => clicked(event, drawing));
  if (focused) arcs.svg.focus({ preventScroll: true });
  tell(chain, asked);
  byId("layer").value = layer + 1;
  byId("layer-is").textContent = `${layer + 1} of ${trace.layers}`;
  byId("position").value = position;
  byId("zoom").value = 100 - (100 * Math.log(view.width / SMALLEST)) / Math.log(Math.max(1.01, trace.length / SMALLEST));
  byId("zoom-is").textContent = `${shared.from} to ${shared.to}`;
}

function clicked(event, { svg, at }) {
  const box = svg.getBoundingClientRect();
  view.position = at(((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width);
  follow();
  byId("arcs").firstChild.focus({ preventScroll: true });
  keepView();
}

function keepView() {
  keep({ trace: byId("trace").value, head: view.head, layer: view.layer, position: view.position });
}

function tell(chain, asked) {
  byId("steps").replaceChildren(...chain.slice(1).map((target, step) => {
    const layer = view.trace.layers - step;
    const text = `layer ${layer}: ${chain[step]} → ${target}, hop ${(chain[step] - target).toLocaleString("en")}`;
    return make("li", { className: layer === view.layer + 1 ? "is" : "" }, text);
  }));
  const root = `The chain of ${named(view.position)} ends at ${named(chain.at(-1))}.`;
  const task = asked === null ? "" : ` The task asks for the symbol of ${named(asked)}, ${view.trace.distance} back.`;
  byId("origin").textContent = root + task;
}

function fit(width) { view.width = clamp(Math.round(width), Math.min(SMALLEST, view.trace.length), view.trace.length); }

function zoom(width) {
  const middle = view.from + view.width / 2;
  fit(width);
  view.from = Math.round(middle - view.width / 2);
  drawExplorer();
}

function moveTo(position) {
  view.position = position;
  follow();
}

function setLayer(layer) {
  view.layer = clamp(layer, 0, view.trace.layers - 1);
  follow();
}

const KEYS = {
  ArrowLeft: (far) => moveTo(view.position - (far ? 16 : 1)),
  ArrowRight: (far) => moveTo(view.position + (far ? 16 : 1)),
  ArrowUp: () => setLayer(view.layer + 1),
  ArrowDown: () => setLayer(view.layer - 1),
  Home: () => moveTo(0),
  End: () => moveTo(view.trace.length - 1),
  PageUp: () => { view.from -= view.width; drawExplorer(); },
  PageDown: () => { view.from += view.width; drawExplorer(); },
  "+": () => zoom(view.width / 1.5),
  "-": () => zoom(view.width * 1.5),
};

async function startExplorer() {
  if (!DATA.traced.length) return;
  const on = (id, event, act) => byId(id).addEventListener(event, async () => { await act(Number(byId(id).value)); keepView(); });
  on("trace", "change", openTrace);
  on("head", "change", (head) => { view.head = head; follow(); });
  on("layer", "input", (layer) => setLayer(layer - 1));
  on("position", "change", (position) => moveTo(Math.round(position) || 0));
  on("zoom", "input", (share) => zoom(SMALLEST * (view.trace.length / SMALLEST) ** (1 - share / 100)));
  byId("arcs").addEventListener("keydown", (event) => {
    const act = KEYS[event.key === "=" ? "+" : event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(event.shiftKey); keepView(); }
  });
  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(drawExplorer); });
  byId("trace").value = DATA.traced[state.trace] ? state.trace : 0;
  await openTrace(Number(byId("trace").value));
}
