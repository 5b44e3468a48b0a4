// Two drawings of pointers as SVG: the arcs of one layer in a window, and one chain through all layers.
const ROW = 34; // pixels a layer in the drawing of the chain
const TOP = 170; // where the tokens' line lies in the drawing of the arcs

function put(parent, tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

// An empty drawing of the positions `from` to `to` in place of the host's; `x` and `at` turn positions to pixels and back.
function canvas(host, height, left, right, from, to, properties) {
  const width = Math.max(280, host.clientWidth);
  host.replaceChildren();
  const scale = (width - left - right) / Math.max(1, to - from);
  const svg = put(host, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...properties });
  return { svg, width, x: (position) => left + (position - from) * scale, at: (pixels) => Math.round(from + (pixels - left) / scale) };
}

function arc(from, to) {
  const across = (from - to) / 2;
  if (across <= 0) return "";
  return `M${from.toFixed(1)} ${TOP}A${across.toFixed(1)} ${Math.min(across, TOP - 14).toFixed(1)} 0 0 0 ${to.toFixed(1)} ${TOP}`;
}

// hops: int[N] of the layer and head; node: where the chain enters this layer
function drawArcs(host, { hops, tokens, from, to, chosen, node, say, spoken }) {
  const role = {
    class: "keys", tabindex: 0, role: "slider", "aria-label": "Position whose chain is shown", "aria-valuemin": 0,
    "aria-valuemax": hops.length - 1, "aria-valuenow": chosen, "aria-valuetext": spoken,
  };
  const drawing = canvas(host, TOP + 52, 18, 18, from, to, role);
  const { svg, width, x } = drawing;
  const shown = to - from + 1, every = Math.max(1, Math.ceil((shown * 46) / width));
  let paths = "";
  for (let i = from; i <= to; i += 1) {
    paths += arc(x(i), x(i - hops[i]));
    if (width / shown > 15 && tokens) put(svg, "text", { x: x(i), y: TOP + 16, class: "token" }, say(tokens[i]));
    if ((i - from) % every === 0) put(svg, "text", { x: x(i), y: TOP + 34, class: "axis" }, i);
  }
  put(svg, "path", { d: paths, class: "arcs", "stroke-opacity": Math.min(0.75, Math.max(0.1, 45 / shown)) });
  put(svg, "line", { x1: x(from), x2: x(to), y1: TOP, y2: TOP, class: "line" });
  put(svg, "path", { d: arc(x(node), x(node - hops[node])), class: "lit" });
  for (const [position, kind] of [[node - hops[node], "target"], [node, "node"], [chosen, "chosen"]]) {
    if (position >= from && position <= to) put(svg, "circle", { cx: x(position), cy: TOP, r: 5, class: kind });
  }
  return drawing;
}

// chain: positions from the top layer's position to the root, one more than there are layers
function drawChain(host, { chain, length, layer, from, to, say, tokens, asked }) {
  const role = { role: "img", "aria-label": "The chain, a line a layer" };
  const drawing = canvas(host, chain.length * ROW + 18, 62, 16, 0, length - 1, role);
  const { svg, width, x } = drawing;
  const y = (step) => 16 + step * ROW, last = chain.length - 1;
  put(svg, "rect", { x: x(from), width: Math.max(2, x(to) - x(from)), y: 0, height: y(last) + 8, class: "window" });
  for (let step = 0; step <= last; step += 1) {
    const is = last - step === layer ? " is" : "";
    put(svg, "line", { x1: x(0), x2: x(length - 1), y1: y(step), y2: y(step), class: `rail${is}` });
    put(svg, "text", { x: 2, y: y(step) + 4, class: `rail-name${is}` }, step < last ? `layer ${last - step}` : "input");
  }
  if (asked !== null) put(svg, "circle", { cx: x(asked), cy: y(last), r: 8, class: "asked" });
  put(svg, "polyline", { points: chain.map((position, step) => `${x(position).toFixed(1)},${y(step)}`).join(" "), class: "lit" });
  chain.forEach((position, step) => {
    put(svg, "circle", { cx: x(position), cy: y(step), r: 4.5, class: step ? "node" : "chosen" });
    if (!step) return;
    const middle = (x(chain[step - 1]) + x(position)) / 2, atRight = middle > width - 60;
    const place = { x: middle + (atRight ? -8 : 8), y: y(step) - ROW / 2 + 4, class: `hop${atRight ? " before" : ""}` };
    put(svg, "text", place, (chain[step - 1] - position).toLocaleString("en"));
  });
  if (tokens) put(svg, "text", { x: x(chain[last]), y: y(last) + 18, class: "token" }, say(tokens[chain[last]]));
  return drawing;
}
