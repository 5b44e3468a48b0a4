// One chart: which, which panel, which axes are logarithmic. Plotly draws, and its legend shows and hides models; a click on a point tells its rows.
const CHARTS = new Map(DATA.charts.map((chart) => [chart.name, chart]));
let shownChart = null; // the chart whose axes the boxes are about
const INK = { light: { text: "#1d2127", grid: "#dfe3e8", ground: "#ffffff" }, dark: { text: "#e8eaed", grid: "#343a43", ground: "#15181d" } };
const scheme = () => (DARK.matches ? "dark" : "light");

const chosenChart = () => CHARTS.get(state.chart) ?? CHARTS.get("speedup");
const chosenModels = () => state.models?.split("|") ?? DATA.paper;

// The traces as drawn: the chosen models, or the paper's; all where none of these has a line here.
function dressed(traces) {
  const chosen = chosenModels();
  const here = traces.some(({ meta }) => chosen.includes(meta.model));
  const named = new Set();
  return traces.map((trace) => {
    const { model } = trace.meta;
    const visible = !here || !model || chosen.includes(model) || "legendonly";
    const showlegend = !named.has(trace.name);
    named.add(trace.name);
    const color = DATA.looks[model]?.[scheme()] ?? trace.line.color;
    const lit = { line: { ...trace.line, color }, marker: { ...trace.marker, color } };
    return { ...trace, ...lit, visible, showlegend, legendgroup: trace.name };
  });
}

// After a click in the legend: the models that it leaves, and those of other charts.
function keepModels(traces) {
  const models = traces.filter(({ meta }) => meta.model);
  const on = models.filter((trace) => trace.visible === true).map(({ meta }) => meta.model);
  const others = chosenModels().filter((name) => !models.some(({ meta }) => meta.model === name));
  keep({ models: [...new Set([...on, ...others])].join("|") });
}

function axis(title, log, ticks) {
  const { grid } = INK[scheme()];
  return {
    title: { text: title, standoff: 8 }, type: log ? "log" : "linear", gridcolor: grid, linecolor: grid, rangemode: "tozero",
    zeroline: false, automargin: true, exponentformat: "SI", ...(log ? ticks : {}),
  };
}

function layoutOf(chart, panel) {
  const { text, ground } = INK[scheme()];
  const [x, y] = all("[data-log]", byId("chart")).map((box) => box.checked);
  const ticks = { tickvals: panel.ticks, ticktext: panel.ticks.map((t) => t.toLocaleString("en")) };
  return {
    autosize: true, height: 560, margin: { l: 56, r: 14, t: 26, b: 48 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: text }, showlegend: true,
    legend: matchMedia("(max-width: 60rem)").matches ? { orientation: "h", y: -0.2 } : {},
    hovermode: "closest", hoverlabel: { bgcolor: ground, font: { color: text }, namelength: -1 },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    shapes: panel.shapes.map((s) => ({ ...s, label: { ...s.label, font: { ...s.label.font, color: text } } })),
    xaxis: axis(chart.x, x, ticks), yaxis: axis(panel.y, y, { dtick: "D2" }),
  };
}

async function drawChart() {
  const figure = byId("chart"), plot = figure.querySelector(".plot");
  const chart = chosenChart();
  const panel = chart.panels[Number(state.panel ?? 0)] ?? chart.panels[0];
  if (shownChart !== chart) describe(figure, chart);
  shownChart = chart;
  if (!panel) return;
  byId("panel").value = chart.panels.indexOf(panel);
  const Plotly = await library("plotly");
  plot.setAttribute("aria-label", panel.alt);
  await Plotly.react(plot, dressed(panel.data), layoutOf(chart, panel), {
    displaylogo: false, responsive: true, toImageButtonOptions: { format: "svg", filename: chart.name },
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  });
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
  figure.querySelector(".empty").hidden = chart.panels.length > 0;
  const [text, link] = figure.querySelector(".note").children;
  text.textContent = chart.note;
  link.href = `#table-${chart.table}`;
  link.hidden = !TABLES.has(chart.table);
  const failures = figure.querySelector(".failures");
  failures.hidden = !chart.failures.length;
  failures.firstElementChild.textContent = `${chart.failures.length} without a point`;
  failures.lastElementChild.replaceChildren(...chart.failures.map((line) => make("li", {}, line)));
}

function startCharts() {
  byId("chart-name").addEventListener("change", ({ target }) => { keep({ chart: target.value, panel: "" }); drawChart(); });
  byId("panel").addEventListener("change", ({ target }) => { keep({ panel: target.value }); drawChart(); });
  for (const box of all("[data-log]")) box.addEventListener("change", drawChart);
  describe(byId("chart"), chosenChart());
  const near = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    near.disconnect();
    drawChart();
  }, { rootMargin: "400px" });
  near.observe(byId("chart"));
  DARK.addEventListener("change", () => { if (byId("chart").dataset.drawn) drawChart(); });
}
