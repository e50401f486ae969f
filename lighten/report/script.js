"use strict";

// Recipes: a mark shows its text under the pointer and under the keyboard's focus.
const tip = document.getElementById("tip");

function show(mark) {
  const [title, facts] = mark.dataset.tip.split("\n");
  const recipe = document.getElementById(mark.getAttribute("aria-describedby"));
  const lines = recipe ? recipe.textContent.split("\n") : [];
  tip.replaceChildren();
  for (const [text, name] of [[title, "b"], [facts, "p"], ...lines.map((line) => [line, "p"])]) {
    const part = document.createElement(name);
    part.textContent = text;
    tip.append(part);
  }
  tip.hidden = false;
  const box = mark.getBoundingClientRect();
  const edge = 12;
  const wanted = box.left + box.width / 2 - tip.offsetWidth / 2;
  const most = document.documentElement.clientWidth - tip.offsetWidth - edge;
  const above = box.top - tip.offsetHeight - edge;
  tip.style.left = `${Math.max(edge, Math.min(wanted, most))}px`;
  tip.style.top = `${above < edge ? box.bottom + edge : above}px`;
}

function hide() {
  tip.hidden = true;
}

for (const mark of document.querySelectorAll("[data-tip]")) {
  mark.addEventListener("pointerenter", () => show(mark));
  mark.addEventListener("pointerleave", hide);
  mark.addEventListener("focus", () => show(mark));
  mark.addEventListener("blur", hide);
}
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
// Reaching a mark by keyboard may scroll the page: its text then moves along.
document.addEventListener("scroll", () => {
  const mark = document.activeElement;
  if (mark && mark.dataset.tip) show(mark);
  else hide();
}, { passive: true });

// Tabs: one chart at a time.
const tabs = [...document.querySelectorAll("[data-tab]")];

function choose(name) {
  for (const tab of tabs) tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
  for (const panel of document.querySelectorAll("[data-panel]")) {
    panel.hidden = panel.dataset.panel !== name;
  }
}

for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.tab));
if (tabs.length > 0) choose(tabs[0].dataset.tab);

// The layer table: sort by a column, the other way round on the second click.
function value(row, column) {
  const text = row.children[column].dataset.value;
  return Number.isNaN(Number(text)) ? text : Number(text);
}

function compare(first, second) {
  if (typeof first === "number" && typeof second === "number") return first - second;
  return String(first).localeCompare(String(second), undefined, { numeric: true });
}

for (const head of document.querySelectorAll("[data-sort]")) {
  head.firstElementChild.addEventListener("click", () => {
    const column = Number(head.dataset.sort);
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const sign = down ? -1 : 1;
    const rows = [...body.rows];
    rows.sort((a, b) => sign * compare(value(a, column), value(b, column)));
    body.append(...rows);
  });
}

// The command: copied, or selected where the browser does not allow copying.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
