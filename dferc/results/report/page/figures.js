"use strict";
// Figures, described by dferc/results/figures, are drawn by plotly when they come near the screen, in the colours of the
// scheme of the moment.

const FIGURES = new Map(readData("figures-data").map((figure) => [figure.key, figure]));
// As in description.py; their properties of style.css, --c1 to --c8, suit light and dark alike.
const COLOURS = ["blue", "vermilion", "green", "purple", "orange", "sky", "yellow", "grey"];
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

/** A text as plotly shows it letter by letter, since it reads a little HTML; numbers stay as they are. */
function escaped(value) {
  if (typeof value !== "string") return value;
  return value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");
}

function axisOf(axis) {
  return {
    gridcolor: "--line",
    zerolinecolor: "--line",
    linecolor: "--line",
    automargin: true,
    title: { text: escaped(axis.title.replace(/([,:]) /, "$1\n")), font: { size: 13 }, standoff: 8 },
    ...(axis.names && { type: "category" }),
    ...(axis.percent && { tickformat: ".0%" }),
    ...(axis.limits && { range: axis.limits }),
    ...(axis.from_zero && { rangemode: "tozero" }),
    ...(axis.blank && { showticklabels: false, showgrid: false, zeroline: false, showline: false }),
  };
}

function layoutOf({ kind, series, x, y, height }) {
  const font = { family: property("--font"), size: 13, color: "--ink" };
  const layout = {
    height,
    margin: { l: 56, r: 16, t: 34, b: 48 },
    font,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "--strong-line", activecolor: "--ink" },
    hoverlabel: { font: { family: font.family } },
    dragmode: TOUCH.matches ? false : "zoom", // a finger on a figure must scroll the page
    barmode: "stack",
    scattermode: (x.names || y.names) && !series.some(({ line }) => line) ? "group" : "overlay",
    xaxis: axisOf(x),
    yaxis: { ...axisOf(y), ...(y.names && { autorange: "reversed" }), ...(y.blank && { scaleanchor: "x" }) },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal" },
  };
  if (kind === "matrix") {
    Object.assign(layout.xaxis, { constrain: "domain", showgrid: false });
    layout.yaxis.showgrid = false;
  }
  return coloured(layout);
}

function tracesOf(panel) {
  if (panel.kind === "matrix") return [heatmapOf(panel)];
  return panel.series.map((series) => (panel.kind === "bars" ? barsOf : pointsOf)(series, panel));
}

function traceOf(series, panel) {
  return {
    name: escaped(series.name),
    x: series.x.map(escaped),
    y: series.y.map(escaped),
    orientation: panel.y.names ? "h" : "v",
    ...(!series.in_legend && { showlegend: false }),
  };
}

const colourOf = ({ colour }) => `--c${COLOURS.indexOf(colour) + 1}`;

function barsOf(series, panel) {
  return {
    ...traceOf(series, panel),
    type: "bar",
    text: series.labels,
    textposition: "inside",
    insidetextanchor: "middle",
    textfont: { color: "--on" },
    customdata: series.notes.map(escaped),
    hovertemplate: "%{y}<br>%{x:.1%} %{customdata}",
    marker: { color: colourOf(series), pattern: { shape: series.hatch, fillmode: "overlay", solidity: 0.1, fgopacity: 0.4 } },
  };
}

function pointsOf(series, panel) {
  const bars = (array) => array && { type: "data", array, thickness: 1.5, width: 4 };
  return {
    ...traceOf(series, panel),
    type: "scatter",
    mode: [series.line && "lines", series.marker && "markers"].filter(Boolean).join("+"),
    text: series.notes.map(escaped),
    ...(!series.marker && { opacity: series.opacity }),
    error_x: bars(series.x_spread),
    error_y: bars(series.y_spread),
    line: { color: colourOf(series), width: series.width, dash: series.line || "solid" },
    marker: {
      color: colourOf(series),
      symbol: series.marker || "circle",
      size: series.size,
      opacity: series.opacity,
      ...(series.marker.endsWith("-open") && { line: { width: 2 } }),
    },
    offsetgroup: escaped(series.name),
  };
}

function heatmapOf({ series }) {
  return {
    type: "heatmap",
    x: series[0].x.map(escaped),
    y: series.map(({ name }) => escaped(name)),
    z: series.map(({ y }) => y),
    customdata: series.map(({ notes }) => notes),
    zmin: 0,
    zmax: 100,
    texttemplate: "%{z:.0f}",
    textfont: { color: "--ink" },
    hovertemplate: "true %{y}<br>taken for %{x}<br>%{z:.1f} %, %{customdata}<extra></extra>",
    colorscale: "--sequential",
    colorbar: { title: { text: "%" }, thickness: 12, outlinewidth: 0 },
  };
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

/** The numbers of a figure as a table: one row per point. */
function numbersTable(figure, { panel }) {
  const shown = (value) => (typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value ?? "–"));
  const body = make("tbody");
  for (const series of panel.series) {
    const [names, values, spread] = panel.y.names && panel.kind !== "matrix" ? [series.y, series.x, series.x_spread] : [series.x, series.y, series.y_spread];
    for (const [at, name] of names.entries()) {
      const cells = [shown(name).replace("\n", ", "), shown(values[at]), spread ? `±${shown(spread[at])}` : "", series.notes[at] ?? ""];
      body.append(make("tr", {}, make("th", { scope: "row" }, series.name), ...cells.map((cell) => make("td", {}, cell))));
    }
  }
  const headings = ["series", "at", "value", "interval or spread", "which"];
  const head = make("thead", {}, make("tr", {}, ...headings.map((name) => make("th", { scope: "col" }, name))));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${figure.title}: numbers` }, make("table", {}, head, body));
}

const captionOf = ({ how, finding, basis }) => [how, finding, basis].filter(Boolean).join(" ");

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
    plotly().react(plot, coloured(tracesOf(view().panel)), layoutOf(view().panel), configOf(figure));
    // Loose letters and marks say nothing when read aloud; the table and the buttons do.
    for (const svg of plot.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
  }
  select?.addEventListener("change", () => {
    element.querySelector("figcaption").textContent = captionOf(view());
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
