"use strict";
// The document of the page (docs/emotions.md), and how it is shown: letters and colours of emotions, times, speakers.

const TALK = readData("emotions-data");
const UTTERANCES = TALK.utterances;
const CLASSES = TALK.model.classes;
const UNDECIDED = "undecided";

/** Rows whose times are known, in the order of their begin. */
const TIMED = [...UTTERANCES.keys()].filter((row) => UTTERANCES[row].start_s !== null).sort((a, b) => UTTERANCES[a].start_s - UTTERANCES[b].start_s);
const LENGTH_S = Math.max(TALK.media.length_s ?? 0, ...TIMED.map((row) => UTTERANCES[row].end_s), 0.001);
const SPEAKERS = [...new Set([...TIMED, ...UTTERANCES.keys()].map((row) => UTTERANCES[row].speaker))];

/** The shortest beginning of each class that no other class has, at most three letters: colour is never the only sign. */
const LETTERS = new Map(
  CLASSES.map((name) => {
    const begin = (each, length) => [...each].slice(0, length).join("").toLowerCase();
    const length = [1, 2, 3].find((count) => CLASSES.filter((other) => begin(other, count) === begin(name, count)).length === 1) ?? 3;
    const letters = begin(name, length);
    return [name, letters.charAt(0).toUpperCase() + letters.slice(1)];
  }),
);
LETTERS.set(UNDECIDED, "?");

// Colours of base.css, the same for an emotion on every page; grey is that of neutral, as of what stands back.
const USUAL = [
  [/^(sad|sadness)$/, 1],
  [/^(anger|angry|mad)$/, 2],
  [/^(surprise|surprised|peaceful)$/, 3],
  [/^(fear|fearful|scared)$/, 4],
  [/^(joy|joyful|happy|happiness)$/, 5],
  [/^(excited|excitement|powerful)$/, 6],
  [/^(disgust|disgusted|frustrated|frustration)$/, 7],
  [/^neutral$/, 8],
];
const HUES = new Map([[UNDECIDED, "var(--strong-line)"]]);
const unused = new Set([1, 2, 3, 4, 5, 6, 7]);
for (const known of [true, false]) {
  for (const [at, name] of CLASSES.entries()) {
    const usual = USUAL.find(([pattern]) => pattern.test(name.toLowerCase()))?.[1];
    if (known !== (usual !== undefined)) continue;
    const number = usual ?? [...unused][0] ?? (at % 7) + 1;
    unused.delete(number);
    HUES.set(name, `var(--c${number})`);
  }
}

const labelOf = (row) => UTTERANCES[row].emotion ?? UNDECIDED;
const percent = (share) => Math.round(100 * share);
const confidenceOf = (row) => Math.max(...Object.values(UTTERANCES[row].probabilities));
const nameOf = (speaker) => speaker || "unnamed";

/** The class of the highest probability, also of an undecided utterance. */
function mostProbable(row) {
  const { probabilities } = UTTERANCES[row];
  return CLASSES.reduce((best, name) => (probabilities[name] > probabilities[best] ? name : best));
}

/** 83 as 1:23, 3683 as 1:01:23. */
function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** The sign of an emotion: its letters on its colour. */
function badge(name) {
  const kind = name === UNDECIDED ? "badge open" : "badge";
  return make("span", { class: kind, style: `--hue:${HUES.get(name)}`, "aria-hidden": "true" }, LETTERS.get(name));
}

function emotionBars(row) {
  const utterance = UTTERANCES[row];
  return CLASSES.map((name) => {
    const spread = utterance.disagreement !== null && name === mostProbable(row) ? `± ${percent(utterance.disagreement)}` : "";
    const item = bar(name, percent(utterance.probabilities[name]), "hue", spread);
    item.style.setProperty("--hue", HUES.get(name));
    item.querySelector(".name").prepend(badge(name), " ");
    return item;
  });
}

function factsOf() {
  const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
  const facts = [count(UTTERANCES.length, "utterance"), count(SPEAKERS.length, "speaker")];
  if (TALK.media.length_s !== null) facts.unshift(clock(TALK.media.length_s));
  if (!TALK.media.has_picture) facts.push(TALK.media.has_sound ? "no picture" : "neither picture nor sound");
  else if (!TALK.media.has_sound) facts.push("no sound");
  return facts.join(" · ");
}

document.getElementById("facts").textContent = factsOf();
