// One chart: which, which panel, which axes are logarithmic. Plotly draws, and its legend shows and hides models; a click on a point tells its rows.
const LOOKS = new Map(DATA.looks.map((look) => [look.model, look]));
const CHARTS = new Map(DATA.charts.map((chart) => [chart.name, chart]));
let shownChart = null; // the chart whose axes the boxes are about

const colour = (model) => LOOKS.get(model)?.[isDark() ? "dark" : "light"];

const chosenModels = () => state.models?.split("|") ?? DATA.paper;

// The traces as drawn: the chosen models, or the paper's; all where none of these has a line here.
function dressed(traces) {
  const chosen = chosenModels();
  const here = traces.some(({ meta }) => chosen.includes(meta.model));
  const named = new Set();
  return traces.map((trace) => {
    const { model, role } = trace.meta;
    const visible = !here || !model || role === "guide" || chosen.includes(model) || "legendonly";
    const first = !named.has(trace.name);
    named.add(trace.name);
    const color = colour(model);
    const lit = color ? { line: { ...trace.line, color }, marker: { ...trace.marker, color } } : {};
    return { ...trace, ...lit, visible, showlegend: first, legendgroup: trace.name };
  });
}

// After a click in the legend: the models that it leaves, and those of other charts.
function keepModels(traces) {
  const models = traces.filter(({ meta }) => meta.model && meta.role !== "guide");
  const on = models.filter((trace) => trace.visible === true).map(({ meta }) => meta.model);
  const others = chosenModels().filter((name) => !models.some(({ meta }) => meta.model === name));
  keep({ models: [...new Set([...on, ...others])].join("|") });
}

function axis(title, log, ticks = []) {
  const { grid } = ink();
  const some = ticks.length ? { tickvals: ticks, ticktext: ticks.map((t) => t.toLocaleString("en")) } : { dtick: "D2" };
  const marks = log ? some : {};
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

const chosenChart = () => CHARTS.get(state.chart) ?? CHARTS.get("speedup");

async function drawChart() {
  const figure = byId("chart"), plot = figure.querySelector(".plot");
  const chart = chosenChart();
  const panel = chart.panels[Number(state.panel ?? 0)] ?? chart.panels[0];
  if (shownChart !== chart) describe(figure, chart);
  shownChart = chart;
  if (!panel) return;
  byId("panel").value = chart.panels.indexOf(panel);
  const [x, y] = ["x", "y"].map((a) => figure.querySelector(`[data-log=${a}]`).checked);
  const below = matchMedia("(max-width: 60rem)").matches ? { orientation: "h", y: -0.2 } : {};
  const axes = { xaxis: axis(chart.x, x, panel.ticks), yaxis: { ...axis(panel.y, y), rangemode: "tozero" } };
  const extra = { ...axes, showlegend: true, legend: below, height: 560 };
  await draw(plot, dressed(panel.data), layoutOf(panel.shapes, extra), panel.alt, chart.name);
  if (!figure.dataset.drawn) {
    plot.on("plotly_click", ({ points: [point] }) => point.customdata && showOrigin(point.customdata));
    plot.on("plotly_restyle", () => keepModels(plot.data));
  }
  figure.dataset.drawn = chart.name;
}

// What stands around a chart: its panels, its note, and what has no point.
function describe(figure, chart) {
  byId("chart-name").value = chart.name;
  byId("panel").replaceChildren(...chart.panels.map(({ label }, place) => make("option", { value: place }, label)));
  byId("panel-label").hidden = chart.panels.length < 2;
  for (const [place, box] of all("[data-log]", figure).entries()) box.checked = chart.log[place];
  figure.querySelector(".plot").hidden = !chart.panels.length;
  figure.querySelector(".empty").textContent = chart.panels.length ? "" : `${chart.missing}.`;
  const [text, link] = figure.querySelector(".note").children;
  text.textContent = chart.note;
  link.href = `#table-${chart.table}`;
  link.hidden = !TABLES.has(chart.table);
  const failures = figure.querySelector(".failures");
  failures.hidden = !chart.failures.length;
  failures.firstElementChild.textContent = `${chart.failures.length} without a point`;
  failures.lastElementChild.replaceChildren(...chart.failures.map((line) => make("li", {}, line)));
}

// Acts when a node comes near the window.
function whenNear(node, act) {
  const near = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    near.disconnect();
    act();
  }, { rootMargin: "400px" });
  near.observe(node);
}

function startCharts() {
  const redraw = () => { if (byId("chart").dataset.drawn) drawChart(); };
  byId("chart-name").addEventListener("change", ({ target }) => { keep({ chart: target.value, panel: "" }); drawChart(); });
  byId("panel").addEventListener("change", ({ target }) => { keep({ panel: target.value }); drawChart(); });
  for (const box of all("[data-log]")) box.addEventListener("change", drawChart);
  describe(byId("chart"), chosenChart());
  whenNear(byId("chart"), drawChart);
  onTheme(redraw);
}
