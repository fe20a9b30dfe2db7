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

const state = { run: DATA.runs.find(({ name }) => name === DATA.reference), row: 0, matching: [], open: new Set() };

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
  unlike: [`unlike ${DATA.reference}`, (row) => state.run.chosen[row] !== reference().chosen[row]],
};
const SHIFTS = {
  any: ["any", () => true],
  shift: ["shift", (row) => ROWS.shift[row] === "shift"],
  inertia: ["inertia", (row) => ROWS.shift[row] === "inertia"],
};

function reference() {
  return DATA.runs.find(({ name }) => name === DATA.reference);
}

function emotion(number) {
  return number === UNKNOWN ? "no label" : DATA.classes[number];
}

/** What is searched for, as a pattern with one group, or null. */
function wanted() {
  const words = filters.words.value.trim();
  return words ? new RegExp(`(${words.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")})`, "i") : null;
}

function filterRows() {
  const pattern = wanted();
  const [, verdict] = VERDICTS[filters.verdict.value];
  const [, shift] = SHIFTS[filters.shift.value];
  const is = (select, column, row) => select.value === "" || column[row] === Number(select.value);
  state.matching = ROWS.id.map(
    (_, row) =>
      verdict(row) &&
      shift(row) &&
      is(filters.actual, ROWS.actual, row) &&
      is(filters.chosen, state.run.chosen, row) &&
      (!pattern || pattern.test(ROWS.text[row]) || pattern.test(ROWS.speaker[row])),
  );
}
