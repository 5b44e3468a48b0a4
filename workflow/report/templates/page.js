// Start: verdict filters, links to rows, copies and downloads; then curves, tables and chains. `interactive` marks the end.
function startCards() {
  for (const button of all("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy, button));
  for (const button of all("[data-origin]")) button.addEventListener("click", () => showOrigin(JSON.parse(button.dataset.origin)));
  for (const link of all("a[href^='#claim-']")) link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
  for (const link of all("a[download]")) link.href = link.closest("figure").querySelector("img").src;
  const filter = () => {
    for (const button of all(".count")) button.setAttribute("aria-pressed", String(state.words === button.dataset.words));
    for (const card of all(".card")) card.hidden = Boolean(state.words) && card.dataset.words !== state.words;
  };
  for (const button of all(".count")) {
    button.addEventListener("click", () => {
      keep({ words: state.words === button.dataset.words ? "" : button.dataset.words });
      filter();
    });
  }
  filter();
}

// A link to a folded table opens it, one to a chart draws it.
function openLinked() {
  if (location.hash.startsWith("#chart=")) {
    readState();
    drawChart();
    byId("curves").scrollIntoView();
  }
  const target = location.hash.startsWith("#table-") && byId(location.hash.slice(1));
  for (let details = target; details; details = details.parentElement.closest("details")) details.open = true;
}

async function start() {
  const dark = () => document.documentElement.classList.toggle("dark", DARK.matches); // DataTables' own name for it
  dark();
  DARK.addEventListener("change", dark);
  readState();
  startCards();
  startCharts();
  addEventListener("hashchange", openLinked);
  startTables();
  openLinked();
  await startExplorer();
  performance.mark("interactive");
  document.documentElement.dataset.ready = "yes";
}

start();
