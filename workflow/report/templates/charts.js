// The charts: which models are on, which panel, which axes are logarithmic. Plotly draws; a click on a point tells its rows.
const LOOKS = new Map(DATA.looks.map((look) => [look.model, look]));
const CHARTS = new Map(DATA.charts.map((chart) => [chart.name, chart]));
const off = new Set(); // models switched off
const seen = new Set(); // charts that were drawn once
let paperOn = true;

const colour = (model) => LOOKS.get(model)?.[isDark() ? "dark" : "light"];

function dressed(trace) {
  const { model, role } = trace.meta;
  const visible = !off.has(model) && (paperOn || role !== "paper");
  const color = colour(model);
  return color ? { ...trace, visible, line: { ...trace.line, color }, marker: { ...trace.marker, color } } : { ...trace, visible };
}

function axis(title, log, ticks = []) {
  const { grid } = ink();
  const marks = log && ticks.length ? { tickvals: ticks, ticktext: ticks.map((t) => t.toLocaleString("en")) } : {};
  return {
    title: { text: title, standoff: 8 }, type: log ? "log" : "linear", gridcolor: grid, linecolor: grid,
    zeroline: false, automargin: true, exponentformat: "SI", ...marks,
  };
}

function layoutOf(shapes, extra) {
  const { text, ground } = ink();
  return {
    autosize: true, height: 330, margin: { l: 56, r: 14, t: 26, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: text }, showlegend: false,
    hovermode: "closest", hoverlabel: { bgcolor: ground, font: { color: text }, namelength: -1 },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    shapes: shapes.map((s) => (s.label ? { ...s, label: { ...s.label, font: { ...s.label.font, color: text } } } : s)), ...extra,
  };
}

async function draw(plot, data, layout, alt, filename) {
  const config = {
    displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg", filename },
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const Plotly = await plotly();
  plot.setAttribute("aria-label", alt);
  await Plotly.react(plot, data, layout, config);
}

async function drawChart(figure) {
  const chart = CHARTS.get(figure.dataset.chart);
  const panel = chart.panels[Number(byId(`panel-${chart.name}`)?.value ?? 0)];
  const [x, y] = ["x", "y"].map((a) => figure.querySelector(`[data-log=${a}]`).checked);
  const plot = figure.querySelector(".plot");
  const below = chart.legend ? { showlegend: true, legend: { orientation: "h", y: -0.28 }, height: 400 } : {};
  const axes = { xaxis: axis(chart.x, x, panel.ticks), yaxis: { ...axis(panel.y, y), rangemode: "tozero" } };
  await draw(plot, panel.data.map(dressed), layoutOf(panel.shapes, { ...axes, ...below }), panel.alt, chart.name);
  if (!seen.has(figure)) plot.on("plotly_click", ({ points: [point] }) => point.customdata && showOrigin(point.customdata));
  seen.add(figure);
  figure.dataset.drawn = "yes";
}

function drawSeen() {
  for (const figure of seen) drawChart(figure);
}

function choose(which) {
  for (const box of all("#models input[value]:not(#paper-on)")) {
    box.checked = which === "all" || (which === "paper" && data.paper.includes(box.value));
    off[box.checked ? "delete" : "add"](box.value);
  }
  drawSeen();
}

// Draws a chart when it comes near the window.
function whenNear(node, act) {
  const near = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    near.disconnect();
    act();
  }, { rootMargin: "400px" });
  near.observe(node);
}

function startCharts() {
  for (const box of all("#models input")) {
    box.addEventListener("change", () => {
      if (box.id === "paper-on") paperOn = box.checked;
      else off[box.checked ? "delete" : "add"](box.value);
      drawSeen();
    });
  }
  for (const button of all("[data-models]")) button.addEventListener("click", () => choose(button.dataset.models));
  for (const figure of all("[data-chart]").filter((f) => f.querySelector(".plot"))) {
    for (const control of all("select, input", figure)) control.addEventListener("change", () => drawChart(figure));
    whenNear(figure, () => drawChart(figure));
  }
  onTheme(drawSeen);
}
