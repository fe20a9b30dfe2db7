"use strict";
// The dialogue browser: choose a run, filter utterances, walk through dialogues with the keyboard or by touch.

const listBox = document.getElementById("dialogue-list");
const list = utteranceList({
  element: document.getElementById("utterances"),
  build: (row) => utteranceItem(list, row, aboutRow(row)),
  shown: () => (anyMatch() ? rowsOf(DIALOGUES[dialogueOf(list.row)]).filter((row) => list.matching[row] || !filters.only.checked) : []),
  allOpen: () => filters.details.checked,
});

const anyMatch = () => list.matching.includes(true);
const filtered = () => list.matching.includes(false);

function dialogueOf(row) {
  return DIALOGUES.findIndex(({ start, end }) => start <= row && row < end);
}

function rowsOf({ start, end }) {
  return Array.from({ length: end - start }, (_, at) => start + at);
}

/** The list of dialogues that hold a match, and how many utterances match. */
function showList() {
  const [, wrong] = VERDICTS.wrong;
  const options = [];
  let matches = 0;
  for (const [at, dialogue] of DIALOGUES.entries()) {
    const rows = rowsOf(dialogue);
    const here = rows.filter((row) => list.matching[row]).length;
    matches += here;
    if (!here) continue;
    const text = `${dialogue.id}: ${rows.filter(wrong).length} of ${rows.length} wrong${filtered() ? `, ${here} match` : ""}`;
    options.push(make("option", { value: at }, text));
  }
  listBox.replaceChildren(...options);
  listBox.disabled = options.length === 0;
  listBox.size = Math.min(Math.max(options.length, 2), 26); // one line would be a closed menu
  document.getElementById("matches").textContent =
    `Run ${state.run.name}, ${state.run.seeds.length} seed${state.run.seeds.length === 1 ? "" : "s"}: ${matches.toLocaleString("en")} of ${COUNT.toLocaleString("en")} utterances in ${options.length} of ${DIALOGUES.length} dialogues ${filtered() ? "match" : "are shown"}.`;
}

function showDialogue() {
  const at = dialogueOf(list.row);
  listBox.value = String(at);
  document.getElementById("dialogue-name").textContent = anyMatch() ? `Dialogue ${DIALOGUES[at].id}` : "No utterance matches";
  list.draw();
}

/** Make a row the current one, its dialogue the shown one. */
function select(row, focus = true) {
  const before = dialogueOf(list.row);
  const here = before === dialogueOf(row) && list.itemOf(row);
  if (!here) {
    list.row = row;
    showDialogue();
  }
  list.select(row, focus);
}

function refresh() {
  state.run = DATA.runs[Number(filters.run.value)];
  list.pattern = searchPattern(filters.words.value);
  list.matching = matchingRows(list.pattern);
  list.keepMatch();
  showList();
  showDialogue();
}

function step(rows, direction) {
  const row = list.next(rows, direction);
  if (row !== undefined) select(row);
}

/** The first match of the dialogues before or after this one. */
function stepDialogue(direction) {
  const first = DIALOGUES.map((dialogue) => rowsOf(dialogue).find((row) => list.matching[row]));
  const here = dialogueOf(list.row);
  const rows = first.filter((row, at) => row !== undefined && (direction > 0 ? at > here : at < here));
  if (rows.length) select(direction > 0 ? rows[0] : rows.at(-1));
}

const KEYS = {
  ...stepKeys(list, step),
  ArrowRight: () => stepDialogue(1),
  ArrowLeft: () => stepDialogue(-1),
  Enter: () => list.toggle(list.row),
  "/": () => filters.words.focus(),
};

obeyKeys(document.getElementById("browser"), KEYS);
for (const button of document.querySelectorAll("#browser [data-key]")) {
  button.addEventListener("click", () => {
    const { row } = list;
    KEYS[button.dataset.key]();
    if (list.row === row) document.getElementById("matches").textContent = "There is none further that way.";
    button.focus({ preventScroll: true });
  });
}
listBox.addEventListener("change", () => {
  select(rowsOf(DIALOGUES[Number(listBox.value)]).find((row) => list.matching[row]), false);
});

fillSelect(filters.run, DATA.runs.map(({ name }, at) => [at, name]));
filters.run.options[DATA.runs.indexOf(state.run)].defaultSelected = true;
fillSelect(filters.verdict, Object.entries(VERDICTS).map(([value, [text]]) => [value, text]));
fillSelect(filters.shift, Object.entries(SHIFTS).map(([value, [text]]) => [value, text]));
const emotions = DATA.classes.map((name, at) => [at, name]);
fillSelect(filters.chosen, [["", "any"], ...emotions]);
fillSelect(filters.actual, [["", "any"], ...emotions, [UNKNOWN, "no label"]]);
watchFilters(filters.run.form, refresh);
refresh();
