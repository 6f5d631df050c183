
/* Bring the page of several runs to life, again whenever its parts were replaced. */
const startRuns = () => {
  /* The table: a click on a heading sorts the runs, those without a value last. */
  const table = document.querySelector(".runs");
  const body = table.tBodies[0];
  const rank = (row, column) => row.cells[column].dataset.rank;
  const compare = (one, other, numeric) => (numeric ? one - other : one.localeCompare(other, undefined, { numeric: true }));
  table.querySelectorAll("thead button").forEach((button, column) => {
    const heading = button.closest("th");
    const numeric = heading.classList.contains("number");
    button.addEventListener("click", () => {
      // The first click on a result shows the best at the top.
      const first = button.textContent.includes("\u2191") ? "descending" : "ascending";
      const other = { ascending: "descending", descending: "ascending" };
      const sorted = heading.getAttribute("aria-sort");
      const direction = sorted === "none" ? first : other[sorted];
      for (const one of table.querySelectorAll("th[aria-sort]")) one.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows];
      const has = rows.filter((row) => rank(row, column) !== undefined)
        .sort((one, next) => sign * compare(rank(one, column), rank(next, column), numeric));
      body.append(...has, ...rows.filter((row) => rank(row, column) === undefined));
    });
  });

  /* Inputs and result: one result is shown; a line that is pointed at stands out, with its run in the table. */
  const select = document.querySelector(".result");
  const plots = [...document.querySelectorAll(".parallel-scroll")];
  const told = document.querySelector(".pointed");
  select?.addEventListener("change", () => {
    plots.forEach((plot, at) => {
      const shown = at === select.selectedIndex;
      for (const part of [plot, plot.nextElementSibling]) {
        if (part === plot || part.matches(".left-out")) part.hidden = !shown;
      }
    });
  });
  const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const text = (row) => [...row.cells].map((cell, at) => (at ? `${headings[at]} ${cell.innerText.trim()}` : cell.innerText.trim())).join(", ");
  const point = (run) => {
    for (const one of document.querySelectorAll(".on[data-run]")) one.classList.remove("on");
    document.body.classList.toggle("pointing", run !== undefined);
    if (run === undefined) return;
    for (const one of document.querySelectorAll(`[data-run="${run}"]`)) one.classList.add("on");
    if (told) told.textContent = text(body.querySelector(`[data-run="${run}"]`));
  };
  for (const one of document.querySelectorAll(".parallel .hit, .runs tbody tr")) {
    one.addEventListener("pointerenter", () => point(one.dataset.run));
    one.addEventListener("pointerleave", () => point());
  }
};
startRuns();
