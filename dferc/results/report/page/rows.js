"use strict";
// The rows of the dialogue browser: its data, what is asked of an utterance, and which match the filters.

const DATA = readData("browser-data");
const ROWS = DATA.utterances;
const COUNT = ROWS.id.length;
const UNKNOWN = -1; // no label
const filters = document.getElementById("filters").elements;

/** The dialogues in order: id, first row and the row after the last. */
const DIALOGUES = [];
for (let row = 0; row < COUNT; row++) {
  if (row === 0 || ROWS.dialogue[row] !== ROWS.dialogue[row - 1]) DIALOGUES.push({ id: ROWS.dialogue[row], start: row });
  DIALOGUES.at(-1).end = row + 1;
}

const reference = DATA.runs.find(({ name }) => name === DATA.reference);
const state = { run: reference };

/** The row of a flat table of this width. */
function slice(flat, row, width) {
  return flat.slice(row * width, (row + 1) * width);
}

/** Each seed's class of a row. */
function bySeed(row) {
  return state.run.seeds.map((_, seed) => state.run.by_seed[seed * COUNT + row]);
}

const VERDICTS = {
  any: ["any", () => true],
  wrong: ["wrong", (row) => ROWS.actual[row] !== UNKNOWN && state.run.chosen[row] !== ROWS.actual[row]],
  right: ["right", (row) => state.run.chosen[row] === ROWS.actual[row]],
  disagree: ["seeds disagree", (row) => new Set(bySeed(row)).size > 1],
  unlike: [`unlike ${DATA.reference}`, (row) => state.run.chosen[row] !== reference.chosen[row]],
};
const SHIFTS = {
  any: ["any", () => true],
  shift: ["shift", (row) => ROWS.shift[row] === "shift"],
  inertia: ["inertia", (row) => ROWS.shift[row] === "inertia"],
};

function emotion(number) {
  return number === UNKNOWN ? "no label" : DATA.classes[number];
}

/** Whether each row matches the filters and a pattern. */
function matchingRows(pattern) {
  const [, verdict] = VERDICTS[filters.verdict.value];
  const [, shift] = SHIFTS[filters.shift.value];
  const is = (select, column, row) => select.value === "" || column[row] === Number(select.value);
  return ROWS.id.map(
    (_, row) =>
      verdict(row) &&
      shift(row) &&
      is(filters.actual, ROWS.actual, row) &&
      is(filters.chosen, state.run.chosen, row) &&
      (!pattern || pattern.test(ROWS.text[row]) || pattern.test(ROWS.speaker[row])),
  );
}

function verdictOf(row) {
  if (ROWS.actual[row] === UNKNOWN) return ["unlabelled", "○", "no label: context only"];
  return state.run.chosen[row] === ROWS.actual[row] ? ["right", "✓", "right"] : ["wrong", "✗", "wrong"];
}

/** True and predicted emotion of a row. */
function verdictElement(row) {
  const [, sign, words] = verdictOf(row);
  const probability = (number) => `${slice(state.run.probability, row, DATA.classes.length)[number]} %`;
  const [actual, chosen] = [ROWS.actual[row], state.run.chosen[row]];
  const known = actual === UNKNOWN ? null : ` ${probability(actual)}`;
  return make(
    "div",
    { class: "verdict" },
    make("p", { class: "sign" }, make("span", { "aria-hidden": "true" }, sign), make("span", { class: "unseen" }, words)),
    make(
      "p",
      {},
      make("span", { class: "pair-of" }, "true ", make("b", {}, emotion(actual)), known),
      make("span", { class: "pair-of" }, "predicted ", make("b", {}, emotion(chosen)), ` ${probability(chosen)}`),
    ),
  );
}

function partsElement(row) {
  const { run } = state;
  const none = make("p", { class: "muted" }, "This run has no contributions.");
  const shares = run.contribution ? sharesBar(run.modalities, slice(run.contribution, row, run.modalities.length)) : none;
  const weight = run.context_weight?.[row];
  return make("div", { class: "parts" }, shares, weight === undefined ? null : weightBar(weight));
}

function detailElements(row) {
  const { run } = state;
  const actual = ROWS.actual[row];
  const probabilities = slice(run.probability, row, DATA.classes.length);
  const note = (at) => [at === actual && "true", at === run.chosen[row] && "predicted"].filter(Boolean).join(", ");
  const bars = probabilities.map((percent, at) => bar(DATA.classes[at], percent, at === actual ? "actual" : "other", note(at)));
  const shares = run.contribution ? slice(run.contribution, row, run.modalities.length) : [];
  const seeds = bySeed(row).map((number, at) => `seed ${run.seeds[at]}: ${emotion(number)}`);
  return [
    ...measures("Probabilities", bars),
    ...(run.contribution ? measures("Contributions", run.modalities.map((name, at) => bar(name, shares[at], name))) : []),
    make("p", { class: "muted" }, `${ROWS.id[row]} · ${seeds.join(", ")}`),
  ];
}

/** What an item of the list shows of a row. */
function aboutRow(row) {
  const shifted = ROWS.shift[row] === "shift" && make("span", { class: "tag shift" }, `shift: was ${emotion(ROWS.before[row])}`);
  return {
    kind: verdictOf(row)[0],
    place: String(ROWS.position[row]),
    speaker: ROWS.speaker[row],
    text: ROWS.text[row],
    tags: [shifted, ...ROWS.absent[row].map((at) => make("span", { class: "tag" }, `no ${DATA.modalities[at]}`))],
    verdict: verdictElement(row),
    parts: partsElement(row),
    label: `utterance ${ROWS.position[row]}`,
    details: () => detailElements(row),
  };
}
