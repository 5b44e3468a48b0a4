// Two drawings of pointers as SVG: the arcs of one layer in a window, and one chain through all layers.
const SVG = "http://www.w3.org/2000/svg";
const ROW = 34; // pixels a layer in the drawing of the chain
const TOP = 170; // where the tokens' line lies in the drawing of the arcs

function shape(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function canvas(host, height, properties) {
  const width = Math.max(280, host.clientWidth);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...properties });
  return { svg, width };
}

function arc(from, to) {
  const across = (from - to) / 2;
  if (across <= 0) return "";
  return `M${from.toFixed(1)} ${TOP}A${across.toFixed(1)} ${Math.min(across, TOP - 14).toFixed(1)} 0 0 0 ${to.toFixed(1)} ${TOP}`;
}

// state: {hops: int[N] of the layer and head, tokens, from, to, chosen, node: where the chain enters this layer}
function drawArcs(host, state) {
  const { svg, width } = canvas(host, TOP + 52, sliderRole(state));
  const pad = 18;
  const x = (position) => pad + ((position - state.from) * (width - 2 * pad)) / Math.max(1, state.to - state.from);
  let paths = "";
  for (let i = state.from; i <= state.to; i += 1) paths += arc(x(i), x(i - state.hops[i]));
  const opacity = Math.min(0.75, Math.max(0.1, 45 / (state.to - state.from + 1)));
  svg.append(shape("path", { d: paths, class: "arcs", "stroke-opacity": opacity }));
  svg.append(shape("line", { x1: pad, x2: width - pad, y1: TOP, y2: TOP, class: "line" }));
  svg.append(shape("path", { d: arc(x(state.node), x(state.node - state.hops[state.node])), class: "lit" }));
  labels(svg, state, x, width);
  host.replaceChildren(svg);
  return { svg, at: (pixels) => Math.round(state.from + ((pixels - pad) * (state.to - state.from)) / (width - 2 * pad)) };
}

function labels(svg, state, x, width) {
  const shown = state.to - state.from + 1;
  const every = Math.max(1, Math.ceil((shown * 46) / width));
  for (let i = state.from; i <= state.to; i += 1) {
    if (width / shown > 15 && state.tokens) svg.append(shape("text", { x: x(i), y: TOP + 16, class: "token" }, state.say(state.tokens[i])));
    if ((i - state.from) % every === 0) svg.append(shape("text", { x: x(i), y: TOP + 34, class: "axis" }, i));
  }
  for (const [position, kind] of [[state.node - state.hops[state.node], "target"], [state.node, "node"], [state.chosen, "chosen"]]) {
    if (position >= state.from && position <= state.to) svg.append(shape("circle", { cx: x(position), cy: TOP, r: kind === "chosen" ? 6 : 4.5, class: kind }));
  }
}

function sliderRole(state) {
  return {
    class: "keys", tabindex: 0, role: "slider", "aria-label": "Position whose chain is shown", "aria-valuemin": 0,
    "aria-valuemax": state.hops.length - 1, "aria-valuenow": state.chosen, "aria-valuetext": state.spoken,
  };
}

// chain: positions from the top layer's position to the root, one more than there are layers
function drawChain(host, { chain, length, layer, from, to, say, tokens, asked }) {
  const { svg, width } = canvas(host, chain.length * ROW + 18, { role: "img", "aria-label": "The chain, a line a layer" });
  const left = 62, right = 16;
  const x = (position) => left + (position * (width - left - right)) / Math.max(1, length - 1);
  const y = (step) => 16 + step * ROW;
  svg.append(shape("rect", { x: x(from), width: Math.max(2, x(to) - x(from)), y: 0, height: y(chain.length - 1) + 8, class: "window" }));
  chain.forEach((_position, step) => {
    const name = step < chain.length - 1 ? `layer ${chain.length - 1 - step}` : "input";
    const is = chain.length - 1 - step === layer ? " is" : "";
    svg.append(shape("line", { x1: left, x2: width - right, y1: y(step), y2: y(step), class: `rail${is}` }));
    svg.append(shape("text", { x: 2, y: y(step) + 4, class: `rail-name${is}` }, name));
  });
  if (asked !== null) svg.append(shape("circle", { cx: x(asked), cy: y(chain.length - 1), r: 8, class: "asked" }));
  const points = chain.map((position, step) => `${x(position).toFixed(1)},${y(step)}`).join(" ");
  svg.append(shape("polyline", { points, class: "lit" }));
  chain.forEach((position, step) => {
    svg.append(shape("circle", { cx: x(position), cy: y(step), r: 4.5, class: step ? "node" : "chosen" }));
    if (step) hopLabel(svg, x, y, chain, step, width);
  });
  if (tokens) svg.append(shape("text", { x: x(chain.at(-1)), y: y(chain.length - 1) + 18, class: "token" }, say(tokens[chain.at(-1)])));
  host.replaceChildren(svg);
  return { svg, at: (pixels) => Math.round(((pixels - left) * (length - 1)) / (width - left - right)) };
}

function hopLabel(svg, x, y, chain, step, width) {
  const middle = (x(chain[step - 1]) + x(chain[step])) / 2;
  const atRight = middle > width - 60;
  const place = { x: middle + (atRight ? -8 : 8), y: (y(step - 1) + y(step)) / 2 + 4, class: `hop${atRight ? " before" : ""}` };
  svg.append(shape("text", place, (chain[step - 1] - chain[step]).toLocaleString("en")));
}
