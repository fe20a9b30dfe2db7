"use strict";
// One utterance as elements: who, what, true and predicted emotion, contributions, context weight, details.

/** Text with what is searched for marked. */
function marked(text, pattern) {
  const parts = pattern ? text.split(pattern) : [text];
  return parts.map((part, at) => (at % 2 ? make("mark", {}, part) : part));
}

/** A labelled bar of some percent, with the number beside it. */
function bar(name, percent, kind, note) {
  return make(
    "li",
    { class: "measure" },
    make("span", { class: "name" }, name, note && make("em", {}, ` ${note}`)),
    make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: `fill ${kind}`, style: `width:${Math.min(percent, 100)}%` })),
    make("span", { class: "number" }, `${percent} %`),
  );
}

function contributions(row) {
  const { run } = state;
  if (!run.contribution) return make("p", { class: "muted" }, "This run has no contributions.");
  const shares = slice(run.contribution, row, run.modalities.length);
  const words = run.modalities.map((name, at) => `${name} ${shares[at]} %`).join(", ");
  const pieces = run.modalities.map((name, at) =>
    make("span", { class: `piece ${name}`, style: `flex-grow:${shares[at]}`, "aria-hidden": "true" }, name[0].toUpperCase()),
  );
  return make("div", { class: "shares", role: "img", "aria-label": `contributions: ${words}`, title: words }, ...pieces);
}

function contextWeight(row) {
  const weight = state.run.context_weight?.[row];
  if (weight === undefined) return null;
  return make(
    "div",
    { class: "weight" },
    make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: "fill context", style: `width:${Math.min(weight, 100)}%` })),
    make("span", { class: "number" }, `context ${(weight / 100).toFixed(2)}`),
  );
}

function details(row) {
  const { run } = state;
  const actual = ROWS.actual[row];
  const probabilities = slice(run.probability, row, DATA.classes.length);
  const note = (at) => [at === actual && "true", at === run.chosen[row] && "predicted"].filter(Boolean).join(", ");
  const bars = probabilities.map((percent, at) => bar(DATA.classes[at], percent, at === actual ? "actual" : "other", note(at)));
  const seeds = bySeed(row).map((number, at) => `seed ${run.seeds[at]}: ${emotion(number)}`);
  const parts = [make("h4", {}, "Probabilities"), make("ul", { class: "measures" }, ...bars)];
  if (run.contribution) {
    const shares = slice(run.contribution, row, run.modalities.length);
    parts.push(make("h4", {}, "Contributions"), make("ul", { class: "measures" }, ...run.modalities.map((name, at) => bar(name, shares[at], name, ""))));
  }
  parts.push(make("p", { class: "muted" }, `${ROWS.id[row]} · ${seeds.join(", ")}`));
  return make("div", { class: "details" }, ...parts);
}

function verdictOf(row) {
  if (ROWS.actual[row] === UNKNOWN) return ["unlabelled", "○", "no label: context only"];
  return state.run.chosen[row] === ROWS.actual[row] ? ["right", "✓", "right"] : ["wrong", "✗", "wrong"];
}

function utterance(row, pattern) {
  const [verdict, sign, words] = verdictOf(row);
  const chosen = state.run.chosen[row];
  const probability = (number) => `${slice(state.run.probability, row, DATA.classes.length)[number]} %`;
  const open = state.open.has(row) || filters.details.checked;
  const more = open ? "less" : "details";
  const absent = ROWS.absent[row].map((at) => `no ${DATA.modalities[at]}`);
  const item = make(
    "li",
    { class: `utterance ${verdict} ${state.matching[row] ? "match" : "other"}`, "data-row": row, tabindex: row === state.row ? 0 : -1, "aria-current": row === state.row ? "true" : null },
    make(
      "div",
      { class: "speech" },
      make("p", { class: "who" }, make("span", { class: "place" }, String(ROWS.position[row])), make("strong", {}, ...marked(ROWS.speaker[row] || "unnamed", pattern))),
      make("p", { class: "words" }, ...(ROWS.text[row] ? marked(ROWS.text[row], pattern) : [make("em", { class: "muted" }, "no transcript")])),
      make(
        "p",
        { class: "tags" },
        ROWS.shift[row] === "shift" && make("span", { class: "tag shift" }, `shift: was ${emotion(ROWS.before[row])}`),
        ...absent.map((words) => make("span", { class: "tag" }, words)),
      ),
    ),
    make(
      "div",
      { class: "verdict" },
      make("p", { class: "sign" }, make("span", { "aria-hidden": "true" }, sign), make("span", { class: "unseen" }, words)),
      make(
        "p",
        {},
        make("span", { class: "pair-of" }, "true ", make("b", {}, emotion(ROWS.actual[row])), ROWS.actual[row] === UNKNOWN ? null : ` ${probability(ROWS.actual[row])}`),
        make("span", { class: "pair-of" }, "predicted ", make("b", {}, emotion(chosen)), ` ${probability(chosen)}`),
      ),
    ),
    make("div", { class: "parts" }, contributions(row), contextWeight(row)),
    make("button", { type: "button", class: "more", "aria-expanded": String(open), "aria-label": `${more}, utterance ${ROWS.position[row]}` }, more),
    open && details(row),
  );
  item.querySelector(".more").addEventListener("click", () => toggle(row));
  item.addEventListener("click", (event) => {
    if (!event.target.closest("button") && !getSelection().toString()) select(row, false);
  });
  return item;
}
