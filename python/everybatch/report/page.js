"use strict";
(() => {
  const table = document.getElementById("trials");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  // Numbers come before text, and what is not there comes last in either order.
  const key = (cell) => {
    const text = cell.textContent.trim();
    if (cell.dataset.v !== undefined) return [0, Number(cell.dataset.v)];
    return text === "" ? [2, 0] : [1, text];
  };
  const compare = (a, b, sign) => {
    if (a[0] === 2 || b[0] === 2) return a[0] - b[0];
    if (a[0] !== b[0]) return sign * (a[0] - b[0]);
    return a[1] < b[1] ? -sign : a[1] > b[1] ? sign : 0;
  };

  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const keyed = rows.map((row, place) => [key(row.cells[column]), place, row]);
      keyed.sort((a, b) => compare(a[0], b[0], sign) || a[1] - b[1]);
      body.append(...keyed.map((entry) => entry[2]));
    });
  });

  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      count += !row.hidden;
    });
    shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
  });

  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
