"use strict";
// A list of utterances with one current row, which clicks and keys move.

/**
 * Rows of a table as items of an element.
 *
 * `build(row)` returns the item of a row, an element with data-row; `shown()` the rows of the list in their order;
 * `allOpen()` whether all details are open; `choose(row)` answers a click. `list.matching` tells for each row whether it
 * matches the filters, `list.pattern` what is searched for.
 */
function utteranceList({ element, build, shown, allOpen = () => false, choose = (row) => list.select(row, false) }) {
  const opened = new Set();
  let items = new Map();
  const list = {
    row: 0,
    matching: [],
    pattern: null,
    choose,
    isOpen: (row) => opened.has(row) || allOpen(),
    itemOf: (row) => items.get(row),
    shownRows: () => [...items.keys()],
    matchingRows: () => [...list.matching.keys()].filter((row) => list.matching[row]),

    draw() {
      items = new Map(shown().map((row) => [row, build(row)]));
      element.replaceChildren(...items.values());
    },

    /** Show anew which items match, without making them again: enough where the list holds the same rows and marks. */
    show() {
      for (const [row, item] of items) {
        item.classList.toggle("match", list.matching[row]);
        item.classList.toggle("other", !list.matching[row]);
      }
    },

    /** Make a row of the list the current one. */
    select(row, focus = true) {
      for (const old of [list.row, row]) {
        const item = items.get(old);
        if (!item) continue;
        item.tabIndex = old === row ? 0 : -1;
        if (old === row) item.setAttribute("aria-current", "true");
        else item.removeAttribute("aria-current");
      }
      list.row = row;
      if (focus) {
        items.get(row)?.focus({ preventScroll: true });
        items.get(row)?.scrollIntoView({ block: "nearest" });
      }
    },

    /** Open or close the details of a row. */
    toggle(row) {
      if (!opened.delete(row)) opened.add(row);
      const old = items.get(row);
      if (!old) return;
      const within = old.contains(document.activeElement) && document.activeElement !== old;
      items.set(row, build(row));
      old.replaceWith(items.get(row));
      (within ? items.get(row).querySelector(".more") : items.get(row)).focus({ preventScroll: true });
    },

    /** Return the row before (-1) or after (1) the current one among others, or undefined. */
    next(rows, direction) {
      return direction > 0 ? rows.find((row) => row > list.row) : rows.findLast((row) => row < list.row);
    },

    /** After a change of the filters: the current row stays if it matches, else the next match takes its place. */
    keepMatch() {
      if (list.matching[list.row]) return;
      const next = list.matching.indexOf(true, list.row);
      list.row = Math.max(next === -1 ? list.matching.indexOf(true) : next, 0);
    },
  };
  return list;
}

/** Return the keys that go through a list: `step(rows, direction)` selects the row after (1) or before (-1) the current one. */
function stepKeys(list, step) {
  const [next, back] = [1, -1].map((direction) => () => step(list.shownRows(), direction));
  return {
    j: next,
    ArrowDown: next,
    k: back,
    ArrowUp: back,
    n: () => step(list.matchingRows(), 1),
    p: () => step(list.matchingRows(), -1),
  };
}

/** Let keys act while the focus is within an element, but not within controls that need them (`own`, a selector). */
function obeyKeys(element, keys, own = "button, select, input") {
  element.addEventListener("keydown", (event) => {
    const within = event.target.closest(own);
    if (event.ctrlKey || event.altKey || event.metaKey || (within && event.key !== "/") || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}

/** Call `refresh` after any change of a form's controls. */
function watchFilters(form, refresh) {
  form.addEventListener("input", refresh);
  form.addEventListener("reset", () => setTimeout(refresh)); // the controls change after this event
  form.addEventListener("submit", (event) => event.preventDefault());
}

function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
}
