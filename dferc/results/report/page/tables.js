"use strict";
// Tables whose headings sort: numbers by their first number, everything else as words; "–" always comes last.

/** The number that a cell begins with (61.20 ± 0.33, [−1.2, +0.4], < 0.001), or null. */
function leadingNumber(text) {
  const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^\s*([[<]?)\s*([+-]?\d+(?:\.\d+)?)/);
  if (!found) return null;
  return Number(found[2]) - (found[1] === "<" ? 1e-9 : 0);
}

function compareCells(one, two) {
  const [a, b] = [leadingNumber(one), leadingNumber(two)];
  if (a !== null && b !== null) return a - b;
  if (a !== null || b !== null) return a !== null ? -1 : 1;
  return one.localeCompare(two);
}

/** Sort the body of a table by one column; what has no number there stays at the end either way. */
function sortTable(table, column, descending) {
  const [body] = table.tBodies;
  const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
  const blank = rows.filter(({ text }) => text === "–" || text === "");
  const filled = rows.filter((each) => !blank.includes(each));
  filled.sort((one, two) => (descending ? -1 : 1) * compareCells(one.text, two.text));
  body.append(...[...filled, ...blank].map(({ row }) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => {
      const heading = button.closest("th");
      const column = heading.cellIndex;
      // Scores are looked at from the best down, names from A.
      const before = heading.getAttribute("aria-sort");
      const descending = before === "none" ? column > 0 : before === "ascending";
      for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortTable(table, column, descending);
    });
  }
}
