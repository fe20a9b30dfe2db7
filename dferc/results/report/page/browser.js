"use strict";
// The dialogue browser: choose a run, filter utterances, walk through dialogues with the keyboard or by touch.

const listBox = document.getElementById("dialogue-list");
const utteranceList = document.getElementById("utterances");

function dialogueOf(row) {
  return DIALOGUES.findIndex(({ start, end }) => start <= row && row < end);
}

function rowsOf({ start, end }) {
  return Array.from({ length: end - start }, (_, at) => start + at);
}

const filtered = () => state.matching.includes(false);

/** The list of dialogues that hold a match, and how many utterances match. */
function showList() {
  const [, wrong] = VERDICTS.wrong;
  const options = [];
  let matches = 0;
  for (const [at, dialogue] of DIALOGUES.entries()) {
    const rows = rowsOf(dialogue);
    const here = rows.filter((row) => state.matching[row]).length;
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
  const at = dialogueOf(state.row);
  const pattern = wanted();
  listBox.value = String(at);
  const none = !state.matching.includes(true);
  const rows = none ? [] : rowsOf(DIALOGUES[at]).filter((row) => state.matching[row] || !filters.only.checked);
  const title = none ? "No utterance matches" : `Dialogue ${DIALOGUES[at].id}`;
  document.getElementById("dialogue-name").textContent = title;
  utteranceList.replaceChildren(...rows.map((row) => utterance(row, pattern)));
}

function itemOf(row) {
  return utteranceList.querySelector(`[data-row="${row}"]`);
}

/** Make a row the current one, its dialogue the shown one. */
function select(row, focus = true) {
  const before = dialogueOf(state.row);
  state.row = row;
  if (before !== dialogueOf(row) || !itemOf(row)) showDialogue();
  for (const item of utteranceList.children) {
    const current = item.dataset.row === String(row);
    item.tabIndex = current ? 0 : -1;
    if (current) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
  if (focus) {
    itemOf(row)?.focus({ preventScroll: true });
    itemOf(row)?.scrollIntoView({ block: "nearest" });
  }
}

function toggle(row) {
  if (!state.open.delete(row)) state.open.add(row);
  const old = itemOf(row);
  const within = old.contains(document.activeElement) && document.activeElement !== old;
  const item = utterance(row, wanted());
  old.replaceWith(item);
  (within ? item.querySelector(".more") : item).focus({ preventScroll: true });
}

/** After a change of the filters: the current row stays if it matches, else the next match takes its place. */
function refresh() {
  state.run = DATA.runs[Number(filters.run.value)];
  filterRows();
  if (!state.matching[state.row]) {
    const next = state.matching.indexOf(true, state.row);
    state.row = Math.max(next === -1 ? state.matching.indexOf(true) : next, 0);
  }
  showList();
  showDialogue();
}

const shownRows = () => [...utteranceList.children].map((item) => Number(item.dataset.row));

/** Among rows, the one before (-1) or after (1) the current one. */
function step(rows, direction) {
  const row = direction > 0 ? rows.find((each) => each > state.row) : rows.findLast((each) => each < state.row);
  if (row !== undefined) select(row);
}

/** The first match of the dialogues before or after this one. */
function stepDialogue(direction) {
  const first = DIALOGUES.map((dialogue) => rowsOf(dialogue).find((row) => state.matching[row]));
  const here = dialogueOf(state.row);
  const rows = first.filter((row, at) => row !== undefined && (direction > 0 ? at > here : at < here));
  if (rows.length) select(direction > 0 ? rows[0] : rows.at(-1));
}

const matchingRows = () => [...state.matching.keys()].filter((row) => state.matching[row]);
const KEYS = {
  j: () => step(shownRows(), 1),
  ArrowDown: () => step(shownRows(), 1),
  k: () => step(shownRows(), -1),
  ArrowUp: () => step(shownRows(), -1),
  n: () => step(matchingRows(), 1),
  p: () => step(matchingRows(), -1),
  ArrowRight: () => stepDialogue(1),
  ArrowLeft: () => stepDialogue(-1),
  Enter: () => toggle(state.row),
  "/": () => filters.words.focus(),
};

document.getElementById("browser").addEventListener("keydown", (event) => {
  const within = event.target.closest("button, select, input");
  if (event.ctrlKey || event.altKey || event.metaKey || (within && event.key !== "/") || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const button of document.querySelectorAll("#browser [data-key]")) {
  button.addEventListener("click", () => {
    const { row } = state;
    KEYS[button.dataset.key]();
    if (state.row === row) document.getElementById("matches").textContent = "There is none further that way.";
    button.focus({ preventScroll: true });
  });
}
listBox.addEventListener("change", () => {
  select(rowsOf(DIALOGUES[Number(listBox.value)]).find((row) => state.matching[row]), false);
});

function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
}

fill(filters.run, DATA.runs.map(({ name }, at) => [at, name]));
filters.run.options[DATA.runs.indexOf(state.run)].defaultSelected = true;
fill(filters.verdict, Object.entries(VERDICTS).map(([value, [text]]) => [value, text]));
fill(filters.shift, Object.entries(SHIFTS).map(([value, [text]]) => [value, text]));
const emotions = DATA.classes.map((name, at) => [at, name]);
fill(filters.chosen, [["", "any"], ...emotions]);
fill(filters.actual, [["", "any"], ...emotions, [UNKNOWN, "no label"]]);
filters.run.form.addEventListener("input", refresh);
filters.run.form.addEventListener("reset", () => setTimeout(refresh)); // the controls change after this event
filters.run.form.addEventListener("submit", (event) => event.preventDefault());
refresh();
