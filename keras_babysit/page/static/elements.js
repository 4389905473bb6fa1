// Elements of the page. Text goes in as text: names of layers are the user's.

/** Returns a new element: attributes, listeners as functions, children, or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== ""));
  return made;
}

/** Text in which what stands between backticks is code. */
export function prose(text) {
  return text
    .split(/`([^`]+)`/)
    .map((part, i) => (i % 2 ? el("code", {}, part) : part));
}

/** Paragraphs and lists of a rule's documentation. */
export function paragraphs(text) {
  return text.split(/\n\s*\n/).map((part) => {
    const points = part.split(/^\s*[-*] /m);
    if (points.length > 1 && !points[0].trim()) {
      return el("ul", {}, points.slice(1).map((point) => el("li", {}, prose(point))));
    }
    return el("p", {}, prose(part));
  });
}

export const SIGNS = { error: "✖", warning: "▲", info: "•", good: "✔" };

/** A sign in the colour of a tone; screen readers get the tone's name. */
export function sign(tone) {
  const label = { good: "healthy" }[tone] ?? tone;
  return el("span", { class: `sign ${tone}`, role: "img", "aria-label": label }, SIGNS[tone] ?? "");
}

/** A table with titles; `rows` are `{cells, tone}`. */
export function table({ columns, rows, note }) {
  const kind = (column) => (column.number ? "number" : "");
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, columns.map((c) => el("th", { class: kind(c) }, c.title)))),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            { class: row.tone, tabindex: row.open ? 0 : null, click: row.open, keydown: onEnter(row.open) },
            row.cells.map((cell, i) => el("td", { class: kind(columns[i]) }, cell)),
          ),
        ),
      ),
    ),
    note ? el("p", { class: "faint" }, note) : null,
  );
}

/** Calls `act` when Enter or space is pressed; nothing where there is nothing to do. */
export function onEnter(act) {
  return (
    act &&
    ((event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      act(event);
    })
  );
}

/** A choice with a label before it. */
export function choice(label, options, chosen, act) {
  const select = el("select", { change: () => act(select.value) });
  for (const [value, text] of options) {
    select.append(el("option", { value, selected: value === chosen }, text));
  }
  return el("label", {}, `${label} `, select);
}
