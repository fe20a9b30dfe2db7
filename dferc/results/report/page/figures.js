"use strict";
// Figures are drawn by plotly when they come near the screen, in the colours of the scheme of the moment.

const FIGURES = new Map(readData("figures-data").map((figure) => [figure.key, figure]));
const TOUCH = matchMedia("(pointer: coarse)");

/** A copy of plotly's data in which names such as "--c1" are colours; a property with commas is a scale of colours. */
function coloured(value) {
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
  }
  if (typeof value !== "string" || !value.startsWith("--")) return value;
  const colours = property(value).split(/\s*,\s*/);
  return colours.length < 2 ? colours[0] : colours.map((colour, at) => [at / (colours.length - 1), colour]);
}

function layoutOf(view) {
  const axis = { gridcolor: "--line", zerolinecolor: "--line", linecolor: "--line", automargin: true };
  const font = { family: property("--font"), size: 13, color: "--ink" };
  const layout = {
    height: 400,
    margin: { l: 56, r: 16, t: 34, b: 48 },
    font,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "--strong-line", activecolor: "--ink" },
    hoverlabel: { font: { family: font.family } },
    dragmode: TOUCH.matches ? false : "zoom", // a finger on a figure must scroll the page
    xaxis: {},
    yaxis: {},
    ...view.layout,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", ...view.layout.legend },
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    layout[name] = { ...axis, ...layout[name], title: { font: { size: 13 }, standoff: 8, ...layout[name].title } };
  }
  return coloured(layout);
}

function configOf(figure) {
  return {
    responsive: true,
    displaylogo: false,
    displayModeBar: TOUCH.matches ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: { format: "svg", filename: figure.key },
  };
}

/** Rows of a table that says what a trace draws. */
function* numbers(trace) {
  const shown = (value) => (typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value ?? "–"));
  if (trace.z) {
    for (const [row, values] of trace.z.entries()) {
      for (const [column, value] of values.entries()) yield [`${trace.y[row]}, ${trace.x[column]}`, shown(value), "", ""];
    }
    return;
  }
  const [labels, values] = trace.orientation === "h" ? [trace.y, trace.x] : [trace.x, trace.y];
  const error = (trace.orientation === "h" ? trace.error_x : trace.error_y) ?? {};
  for (const [at, label] of labels.entries()) {
    const spread = error.array ? `+${shown(error.array[at])} −${shown((error.arrayminus ?? error.array)[at])}` : "";
    yield [shown(label), shown(values[at]), spread, Array.isArray(trace.text) ? shown(trace.text[at]) : ""];
  }
}

/** Text of plotly's small markup as plain text. */
function withoutMarkup(text) {
  return new DOMParser().parseFromString(text.replaceAll("<br>", ", "), "text/html").body.textContent;
}

function numbersTable(figure, view) {
  const body = make("tbody");
  for (const trace of view.traces) {
    for (const cells of numbers(trace)) {
      const texts = [trace.name ?? view.name, ...cells].map(withoutMarkup);
      body.append(make("tr", {}, make("th", { scope: "row" }, texts[0]), ...texts.slice(1).map((cell) => make("td", {}, cell))));
    }
  }
  const headings = ["series", "at", "value", "interval or spread", "which"];
  const head = make("thead", {}, make("tr", {}, ...headings.map((name) => make("th", { scope: "col" }, name))));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${figure.title}: numbers` }, make("table", {}, head, body));
}

/** Plotly itself: 5 MB that the browser reads when the first figure is wanted, not before. */
function plotly() {
  if (!window.Plotly) document.head.append(make("script", {}, document.getElementById("plotly").textContent));
  return window.Plotly;
}

function setUp(element) {
  const figure = FIGURES.get(element.dataset.figure);
  const plot = element.querySelector(".plot");
  const select = element.querySelector("select");
  const details = element.querySelector("details.numbers");
  const view = () => figure.views[select ? Number(select.value) : 0];
  let drawn = false;

  function tabulate() {
    details.querySelector(".scroll")?.remove();
    if (details.open) details.append(numbersTable(figure, view()));
  }
  function draw() {
    drawn = true;
    plotly().react(plot, coloured(view().traces), layoutOf(view()), configOf(figure));
    // Loose letters and marks say nothing when read aloud; the table and the buttons do.
    for (const svg of plot.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
  }
  select?.addEventListener("change", () => {
    element.querySelector("figcaption").textContent = view().caption;
    draw();
    tabulate();
  });
  details.addEventListener("toggle", tabulate);
  return { element, draw, redraw: () => drawn && draw() };
}

const drawings = [...document.querySelectorAll("figure[data-figure]")].map(setUp);
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter(({ isIntersecting }) => isIntersecting)) {
      near.unobserve(entry.target);
      drawings.find(({ element }) => element === entry.target).draw();
    }
  },
  { rootMargin: "300px" },
);
for (const { element } of drawings) near.observe(element);
for (const query of [matchMedia("(prefers-color-scheme: dark)"), TOUCH]) {
  query.addEventListener("change", () => drawings.forEach(({ redraw }) => redraw()));
}
addEventListener("beforeprint", () => drawings.forEach(({ draw }) => draw()));
