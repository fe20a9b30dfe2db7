"use strict";
// The timeline: a lane of blocks for each speaker, curves of the probabilities, the playhead; it zooms and scrolls.

const view = document.getElementById("window");
const strip = document.getElementById("strip");
const blocks = new Map();
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];
const LEAST_BLOCK = 13; // pixels in which a letter can be read
const place = (time) => `${((100 * time) / LENGTH_S).toFixed(4)}%`;
const mostZoom = Math.max((60 * LENGTH_S) / 600, 1); // some ten seconds in a window

let zoom = 1;

function laneOf(speaker) {
  const rows = TIMED.filter((row) => UTTERANCES[row].speaker === speaker);
  const pieces = rows.map((row) => {
    const { start_s, end_s } = UTTERANCES[row];
    const label = labelOf(row);
    const words = `${clock(start_s)} ${nameOf(speaker)}: ${label}, ${percent(confidenceOf(row))} %`;
    const style = `left:${place(start_s)};width:${place(end_s - start_s)};--hue:${HUES.get(label)}`;
    const piece = make("span", { class: `block${label === UNDECIDED ? " open" : ""}`, "data-row": row, title: words, style }, LETTERS.get(label));
    blocks.set(row, piece);
    return piece;
  });
  return make("div", { class: "lane" }, make("span", { class: "lane-name" }, make("bdi", {}, nameOf(speaker))), make("div", { class: "blocks" }, ...pieces));
}

/** One class' probability over time: level during an utterance, joined over short pauses, not where two overlap. */
function curveOf(name) {
  let path = "";
  let last = -Infinity;
  for (const row of TIMED) {
    const { start_s, end_s, probabilities } = UTTERANCES[row];
    const height = (1 - probabilities[name]).toFixed(3);
    path += `${start_s < last || start_s - last > 5 ? "M" : "L"}${start_s} ${height}H${end_s}`;
    last = end_s;
  }
  const curve = document.createElementNS("http://www.w3.org/2000/svg", "path");
  curve.setAttribute("d", path);
  curve.setAttribute("data-class", name);
  curve.style.stroke = HUES.get(name);
  return curve;
}

function drawCurves() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${LENGTH_S} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.append(...CLASSES.map(curveOf));
  document.getElementById("curves").append(svg);
}

/** The ruler, and which blocks are wide enough for their letters, at this zoom and width. */
function fit() {
  const width = view.clientWidth * zoom;
  strip.style.width = `${100 * zoom}%`;
  const step = STEPS_S.find((each) => (each * width) / LENGTH_S > 70) ?? STEPS_S.at(-1);
  const times = Array.from({ length: Math.floor(LENGTH_S / step) + 1 }, (_, at) => at * step);
  document.getElementById("ruler").replaceChildren(...times.map((time) => make("span", { class: "tick-at", style: `left:${place(time)}` }, clock(time))));
  for (const [row, piece] of blocks) {
    const { start_s, end_s } = UTTERANCES[row];
    const room = ((end_s - start_s) * width) / LENGTH_S;
    piece.classList.toggle("narrow", room < LEAST_BLOCK * (LETTERS.get(labelOf(row)).length > 1 ? 1.5 : 1));
  }
}

/** Zoom by a factor; the playhead stays where it is on the screen, if it is in the window, else the middle does. */
function zoomBy(factor) {
  const before = view.clientWidth * zoom;
  const head = (seconds / LENGTH_S) * before - view.scrollLeft;
  const still = head >= 0 && head <= view.clientWidth ? head : view.clientWidth / 2;
  const share = (view.scrollLeft + still) / before;
  zoom = Math.min(Math.max(zoom * factor, 1), mostZoom);
  fit();
  view.scrollLeft = share * view.clientWidth * zoom - still;
}

function moveHead(time) {
  document.getElementById("playhead").style.left = place(time);
  strip.setAttribute("aria-valuenow", time.toFixed(1));
  const row = rowAt(time);
  const spoken = row >= 0 ? `, ${nameOf(UTTERANCES[row].speaker)}: ${labelOf(row)}` : "";
  strip.setAttribute("aria-valuetext", `${clock(time)} of ${clock(LENGTH_S)}${spoken}`);
  const at = (time / LENGTH_S) * view.clientWidth * zoom;
  if (at < view.scrollLeft || at > view.scrollLeft + view.clientWidth) view.scrollLeft = at - view.clientWidth / 5;
}

/** Show which rows match the filters, and the curves of the classes that are wanted. */
function dimTimeline(matching, wanted) {
  for (const [row, piece] of blocks) piece.classList.toggle("other", !matching[row]);
  for (const curve of strip.querySelectorAll("path")) curve.classList.toggle("other", !wanted.has(curve.dataset.class));
}

function markBlock(row) {
  for (const old of strip.querySelectorAll(".block.current")) old.classList.remove("current");
  blocks.get(row)?.classList.add("current");
}

/** Go to the utterance that begins before (-1) or after (1) the playhead. */
function stepUtterance(direction) {
  const starts = TIMED.map((row) => UTTERANCES[row].start_s);
  const time = direction > 0 ? starts.find((start) => start > seconds + 0.01) : starts.findLast((start) => start < seconds - 0.01);
  if (time !== undefined) seek(time);
}

document.getElementById("lanes").append(...SPEAKERS.filter((name) => TIMED.some((row) => UTTERANCES[row].speaker === name)).map(laneOf));
drawCurves();
strip.setAttribute("aria-valuemax", LENGTH_S.toFixed(1));
strip.addEventListener("click", (event) => {
  const { left, width } = strip.getBoundingClientRect();
  const { row } = event.target.dataset;
  seek(row === undefined ? ((event.clientX - left) / width) * LENGTH_S : UTTERANCES[row].start_s);
});
view.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.25 : 0.8);
  },
  { passive: false },
);
obeyKeys(strip, {
  ArrowLeft: () => seek(seconds - 5),
  ArrowDown: () => seek(seconds - 5),
  ArrowRight: () => seek(seconds + 5),
  ArrowUp: () => seek(seconds + 5),
  PageUp: () => stepUtterance(-1),
  PageDown: () => stepUtterance(1),
  Home: () => seek(0),
  End: () => seek(LENGTH_S),
  "+": () => zoomBy(1.5),
  "-": () => zoomBy(1 / 1.5),
  " ": playOrStop,
});
document.getElementById("closer").addEventListener("click", () => zoomBy(1.5));
document.getElementById("wider").addEventListener("click", () => zoomBy(1 / 1.5));
document.getElementById("whole").addEventListener("click", () => zoomBy(0));
new ResizeObserver(fit).observe(view);
watchers.push(moveHead);
moveHead(0);
