"use strict";
// The transcript: filters, the current utterance, and the list that follows the playhead.

const filters = document.getElementById("filters").elements;
const follow = document.getElementById("follow");
const box = document.getElementById("box");
let spoken = -1; // row of the playhead
let drawn = null; // the filters that the items themselves depend on, when they were last made
const LABELS = UTTERANCES.some(({ emotion }) => emotion === null) ? [...CLASSES, UNDECIDED] : CLASSES;

const list = utteranceList({
  element: document.getElementById("utterances"),
  build: (row) => utteranceItem(list, row, aboutRow(row)),
  shown: () => [...UTTERANCES.keys()].filter((row) => list.matching[row] || !filters.only.checked),
  choose: goTo,
});

function absences(row) {
  return Object.entries(UTTERANCES[row].absent).map(([name, why]) => make("span", { class: "tag" }, `no ${name}${why ? `: ${why}` : ""}`));
}

/** Contributions, context weight and share of frames with a face, as far as they are known. */
function inside(row) {
  const { contributions, context_weight, face_share } = UTTERANCES[row];
  const shares = Object.entries(contributions).map(([name, share]) => bar(name, percent(share), name));
  const more = [
    context_weight !== null && bar("context", percent(context_weight), "context"),
    face_share !== null && bar("frames with the face", percent(face_share), "visual"),
  ].filter(Boolean);
  return [...(shares.length ? measures("Contributions", shares) : []), ...(more.length ? measures("Context and faces", more) : [])];
}

function aboutRow(row) {
  const utterance = UTTERANCES[row];
  const label = labelOf(row);
  const least = label === UNDECIDED ? `${mostProbable(row)} ` : "";
  const time = utterance.start_s === null ? `${row + 1}` : clock(utterance.start_s);
  return {
    kind: label === UNDECIDED ? "said undecided" : "said",
    place: time,
    speaker: utterance.speaker,
    text: utterance.text,
    tags: absences(row),
    verdict: make("p", { class: "emotion" }, badge(label), " ", make("b", {}, label), make("span", { class: "number" }, ` ${least}${percent(confidenceOf(row))} %`)),
    parts: null,
    label: `utterance at ${time}`,
    details: () => [...measures("Probabilities", emotionBars(row)), ...inside(row), make("p", { class: "muted" }, utterance.id)],
  };
}

/** The current utterance beside the player. */
function showNow(row) {
  const now = document.getElementById("now");
  if (row < 0) return now.replaceChildren();
  const { speaker, text } = UTTERANCES[row];
  const label = labelOf(row);
  now.replaceChildren(
    make("p", { class: "who" }, make("strong", { dir: "auto" }, nameOf(speaker)), " ", badge(label), " ", make("b", {}, label)),
    make("p", { class: "words", dir: "auto" }, text || make("em", { class: "muted" }, "no transcript")),
    make("ul", { class: "measures" }, ...emotionBars(row)),
  );
}

/** Scroll the list, and nothing else, until an item can be seen. */
function reveal(item) {
  if (!item) return;
  const [inner, outer] = [item.getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - box.clientHeight / 4;
}

function makeCurrent(row, focus) {
  list.select(row, focus);
  showSpoken(row);
}

function showSpoken(row) {
  spoken = row;
  showNow(row);
  if (typeof markBlock === "function") markBlock(row);
}

/** Make a row the current one and go to its time. */
function goTo(row) {
  makeCurrent(row, false);
  const { start_s } = UTTERANCES[row];
  if (start_s === null) return;
  spoken = rowAt(start_s); // of several that begin together, the chosen one stays the current one
  seek(start_s);
}

function step(rows, direction) {
  const row = list.next(rows, direction);
  if (row !== undefined) makeCurrent(row, true);
}

watchers.push((time) => {
  const row = rowAt(time);
  if (row < 0 || row === spoken) return;
  showSpoken(row);
  if (!follow.checked) return;
  list.select(row, false);
  reveal(list.itemOf(row));
});

function matches(row, wanted) {
  const { speaker, text } = UTTERANCES[row];
  return (
    wanted.has(labelOf(row)) &&
    (filters.speaker.value === "" || speaker === SPEAKERS[filters.speaker.value]) &&
    100 * confidenceOf(row) >= Number(filters.least.value) &&
    (!list.pattern || list.pattern.test(text) || list.pattern.test(speaker))
  );
}

function refresh() {
  const wanted = new Set(LABELS.filter((_, at) => document.getElementById(`chip-${at}`).checked));
  const asked = `${filters.only.checked} ${filters.words.value}`;
  list.pattern = searchPattern(filters.words.value);
  list.matching = UTTERANCES.map((_, row) => matches(row, wanted));
  if (asked === drawn && !filters.only.checked) list.show();
  else list.draw();
  drawn = asked;
  const count = list.matching.filter(Boolean).length;
  document.getElementById("least-shown").textContent = `${filters.least.value} %`;
  const all = UTTERANCES.length.toLocaleString("en");
  document.getElementById("matches").textContent = UTTERANCES.length ? `${count.toLocaleString("en")} of ${all} utterances ${list.matching.includes(false) ? "match" : "are shown"}.` : "No speech was found.";
  if (typeof dimTimeline === "function") dimTimeline(list.matching, wanted);
}

const counted = (name) => UTTERANCES.filter((_, row) => labelOf(row) === name).length;
document.getElementById("chips").append(
  ...LABELS.map((name, at) =>
    make("label", { class: "chip" }, make("input", { type: "checkbox", checked: true, id: `chip-${at}` }), badge(name), ` ${name} `, make("span", { class: "number" }, String(counted(name)))),
  ),
);
fillSelect(filters.speaker, [["", "any"], ...SPEAKERS.map((name, at) => [at, nameOf(name)])]);
watchFilters(document.getElementById("filters"), refresh);
obeyKeys(document.getElementById("utterances"), {
  ...stepKeys(list, step),
  Enter: () => goTo(list.row),
  d: () => list.toggle(list.row),
  "/": () => filters.words.focus(),
  " ": playOrStop,
});
refresh();
if (UTTERANCES.length) makeCurrent(0, false);
