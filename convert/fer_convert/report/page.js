// Sorting by the heads of the columns; without it the tables stand in their first order.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = head.dataset.kind === "number";
      const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
      rows.sort(([a], [b]) => {
        // What is missing comes last in both directions.
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
        return descending ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
