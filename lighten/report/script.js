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

// Tabs: one panel at a time; arrow keys, Home and End go along the row.
function choose(tabs, chosen) {
  for (const tab of tabs) {
    const is = tab === chosen;
    tab.setAttribute("aria-selected", String(is));
    tab.tabIndex = is ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !is;
  }
}

function along(tabs, at, key) {
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[key];
  return to === undefined ? undefined : tabs[(to + tabs.length) % tabs.length];
}

for (const row of document.querySelectorAll("[role=tablist]")) {
  const tabs = [...row.children];
  row.hidden = tabs.length < 2;
  row.parentElement.classList.add("live");
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => choose(tabs, tab));
    tab.addEventListener("keydown", (event) => {
      const next = along(tabs, at, event.key);
      if (!next) return;
      event.preventDefault();
      choose(tabs, next);
      next.focus();
    });
  });
  choose(tabs, tabs[0]);
}

// On paper nothing can be unfolded: what is folded opens before printing, and closes after it.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const part of unfolded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of unfolded) part.open = false;
});

// The layer table: sort by a column, the other way round on the second click.
function value(body, column) {
  const text = body.rows[0].children[column].dataset.value;
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
    const table = head.closest("table");
    const sign = down ? -1 : 1;
    const bodies = [...table.tBodies];
    bodies.sort((a, b) => sign * compare(value(a, column), value(b, column)));
    table.append(...bodies);
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
