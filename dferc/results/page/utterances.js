"use strict";
// The parts of an utterance on the page, for any list of utterances: speaker and text, bars, shares, details.

/** Text with what is searched for marked. */
function marked(text, pattern) {
  const parts = pattern ? text.split(pattern) : [text];
  return parts.map((part, at) => (at % 2 ? make("mark", {}, part) : part));
}

/** What is searched for, as a pattern with one group, or null. */
function searchPattern(words) {
  const trimmed = words.trim();
  return trimmed ? new RegExp(`(${trimmed.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&")})`, "i") : null;
}

function track(percent, kind) {
  const width = `width:${Math.min(Math.max(percent, 0), 100)}%`;
  return make("span", { class: "track", "aria-hidden": "true" }, make("span", { class: `fill ${kind}`, style: width }));
}

/** A labelled bar of some percent, with the number beside it. */
function bar(name, percent, kind, note = "") {
  return make(
    "li",
    { class: "measure" },
    make("span", { class: "name" }, name, note && make("em", {}, ` ${note}`)),
    track(percent, kind),
    make("span", { class: "number" }, `${percent} %`),
  );
}

function measures(title, bars) {
  return [make("p", { class: "title", "aria-hidden": "true" }, title), make("ul", { class: "measures", "aria-label": title }, ...bars)];
}

/** The shares of the modalities as one divided bar. */
function sharesBar(names, percents) {
  const words = names.map((name, at) => `${name} ${percents[at]} %`).join(", ");
  const pieces = names.map((name, at) =>
    make("span", { class: `piece ${name}`, style: `flex-grow:${percents[at]}`, "aria-hidden": "true" }, name[0].toUpperCase()),
  );
  return make("div", { class: "shares", role: "img", "aria-label": `contributions: ${words}`, title: words }, ...pieces);
}

function weightBar(percent) {
  const number = make("span", { class: "number" }, `context ${(percent / 100).toFixed(2)}`);
  return make("div", { class: "weight" }, track(percent, "context"), number);
}

/**
 * An utterance as an item of a list (list.js).
 *
 * `about` has its kind (a class of the style), place (what stands before the speaker), speaker, text, tags, verdict and
 * parts (elements), label (a name for its button), and details, a function that returns elements.
 */
function utteranceItem(list, row, about) {
  const { pattern } = list;
  const open = list.isOpen(row);
  const more = open ? "less" : "details";
  const current = row === list.row;
  const words = about.text ? marked(about.text, pattern) : [make("em", { class: "muted" }, "no transcript")];
  const item = make(
    "li",
    { class: `utterance ${about.kind} ${list.matching[row] ? "match" : "other"}`, "data-row": row, tabindex: current ? 0 : -1, "aria-current": current ? "true" : null },
    make(
      "div",
      { class: "speech" },
      make("p", { class: "who" }, make("span", { class: "place" }, about.place), make("strong", { dir: "auto" }, ...marked(about.speaker || "unnamed", pattern))),
      make("p", { class: "words", dir: "auto" }, ...words),
      make("p", { class: "tags" }, ...about.tags),
    ),
    about.verdict,
    about.parts,
    make("button", { type: "button", class: "more", "aria-expanded": String(open), "aria-label": `${more}, ${about.label}` }, more),
    open && make("div", { class: "details" }, ...about.details()),
  );
  item.querySelector(".more").addEventListener("click", () => list.toggle(row));
  item.addEventListener("click", (event) => {
    if (!event.target.closest("button") && !getSelection().toString()) list.choose(row);
  });
  return item;
}
