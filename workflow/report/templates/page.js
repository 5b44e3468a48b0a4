// Start: verdict filters, links to rows, copies and downloads; then curves, tables and chains. `interactive` marks the end.
function startCards() {
  for (const button of all("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy, button));
  for (const button of all("[data-origin]")) button.addEventListener("click", () => showOrigin(JSON.parse(button.dataset.origin)));
  for (const link of all("[data-rows]")) link.addEventListener("click", () => showRows(JSON.parse(link.dataset.rows)));
  for (const link of all("a[href^='#claim-']")) link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
  const counts = all(".count");
  const filter = (words) => {
    for (const button of counts) button.setAttribute("aria-pressed", String(words === button.dataset.words));
    for (const card of all(".card")) card.hidden = Boolean(words) && card.dataset.words !== words;
  };
  for (const button of counts) {
    button.addEventListener("click", () => {
      keep({ words: state.words === button.dataset.words ? "" : button.dataset.words });
      filter(state.words);
    });
  }
  filter(state.words);
}

// The same drawing as pixels, PIXELS to each of its own: the page holds no second copy.
const PIXELS = 3;

function painted(image) {
  const picture = make("canvas", { width: PIXELS * image.naturalWidth, height: PIXELS * image.naturalHeight });
  const pen = picture.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.drawImage(image, 0, 0, picture.width, picture.height);
  return picture.toDataURL("image/png");
}

function startDownloads() {
  for (const button of all("[data-figure]")) {
    const image = document.querySelector(`img[data-name="${button.dataset.figure}"]`);
    button.addEventListener("click", async () => {
      image.loading = "eager"; // out of sight it may not have been read yet
      await image.decode();
      const { figure, kind } = button.dataset;
      const href = kind === "svg" ? image.src : painted(image);
      make("a", { href, download: `${figure}.${kind}` }).click();
    });
  }
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
  applyTheme();
  onTheme(applyTheme);
  readState();
  startCards();
  startDownloads();
  startCharts();
  addEventListener("hashchange", openLinked);
  openLinked();
  startTables();
  await startExplorer();
  performance.mark("interactive");
  document.documentElement.dataset.ready = "yes";
}

start();
