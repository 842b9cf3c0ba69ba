"use strict";
document.querySelectorAll("table thead").forEach(head => {
  const body = head.parentElement.tBodies[0];
  const columns = [...head.rows[0].cells];
  columns.forEach((column, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.textContent;
    column.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = column.getAttribute("aria-sort") === "ascending";
      columns.forEach(other => other.removeAttribute("aria-sort"));
      column.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = row => {
        const cell = row.cells[place];
        return cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key);
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "number" && typeof y === "number") return x - y;
        return String(x).localeCompare(String(y));
      };
      const rows = [...body.rows].sort(compare);
      body.append(...(falling ? rows.reverse() : rows));
    });
  });
});
