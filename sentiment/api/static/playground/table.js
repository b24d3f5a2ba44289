// A table of which only the rows on screen exist: ten thousand texts cost what forty do.

import { capitalised, toneOf } from "./labels.js";
import { beforeNextFrame, element } from "./dom.js";
import { balance, exactPercent, percent } from "./numbers.js";
import { REFUSED, SCORED } from "./results.js";

/** Rows kept above and below the screen, so that a flick of the wheel finds them there. */
const SPARE_ROWS = 8;

const KEY_STEPS = {
  ArrowDown: (index) => index + 1,
  ArrowUp: (index) => index - 1,
  PageDown: (index, page) => index + page,
  PageUp: (index, page) => index - page,
  Home: () => 0,
  End: (_index, _page, last) => last,
};

export class ResultsTable {
  #rows = [];
  #made = new Map();
  #active = 0;

  /** Draw into `table`; `opened(row)` is called when a reader wants all of a text. */
  constructor(table, { opened }) {
    this.table = table;
    this.body = table.tBodies[0];
    this.head = table.tHead;
    this.opened = opened;
    this.draw = beforeNextFrame(() => this.#draw());
    addEventListener("scroll", this.draw, { passive: true });
    addEventListener("resize", this.draw, { passive: true });
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.body.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** Show `rows` of `labels`, in this order; what has not changed is not made again. */
  show(rows, labels) {
    if (this.labels !== labels) this.#made.clear();
    this.labels = labels;
    this.#rows = rows;
    this.#active = Math.max(0, Math.min(this.#active, rows.length - 1));
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.draw();
  }

  get #rowHeight() {
    return Number.parseFloat(getComputedStyle(this.table).getPropertyValue("--row-height"));
  }

  #draw() {
    const height = this.#rowHeight;
    const top = this.body.getBoundingClientRect().top;
    const total = this.#rows.length;
    const first = Math.max(0, Math.min(total, Math.floor(-top / height) - SPARE_ROWS));
    const below = Math.ceil((innerHeight - top) / height) + SPARE_ROWS;
    const last = Math.max(first, Math.min(total, below));
    const made = new Map();
    for (let index = first; index < last; index += 1) {
      made.set(this.#rows[index], this.#row(this.#rows[index], index));
    }
    this.#made = made;
    this.body.style.paddingTop = `${first * height}px`;
    this.body.style.paddingBottom = `${(total - last) * height}px`;
    this.#replaceRows([...made.values()], first, last);
  }

  #replaceRows(rows, first, last) {
    const tabStop = this.#active >= first && this.#active < last ? this.#active : first;
    rows.forEach((row, offset) => {
      row.querySelector("button").tabIndex = first + offset === tabStop ? 0 : -1;
    });
    const present = this.body.children;
    const same = rows.length === present.length;
    if (same && rows.every((row, index) => row === present[index])) return;
    // A button that is put back has lost the focus; one made anew for the same row deserves it.
    const focused = this.body.contains(document.activeElement)
      ? document.activeElement.closest("tr").dataset.number
      : null;
    this.body.replaceChildren(...rows);
    if (focused === null) return;
    const again = rows.find((row) => row.dataset.number === focused);
    again?.querySelector("button").focus({ preventScroll: true });
  }

  #row(row, index) {
    const known = this.#made.get(row);
    const made = known?.dataset.state === row.state ? known : this.#makeRow(row);
    made.setAttribute("aria-rowindex", index + 2); // the head is the first
    made.dataset.index = index;
    return made;
  }

  #makeRow(row) {
    const cells = [
      cell("number", String(row.number)),
      cell("text", ...textParts(row)),
      ...(row.state === SCORED ? this.#figures(row) : noFigures(row)),
    ];
    const made = element("tr", { role: "row" }, ...cells);
    made.dataset.state = row.state;
    made.dataset.number = row.number;
    return made;
  }

  #figures(row) {
    return [
      cell("label", tag(row.label)),
      cell("score", percent(row.score)),
      cell("spread", bar(this.labels, row.probabilities)),
      cell("net", balance(row.net)),
    ];
  }

  #clicked(event) {
    const row = event.target.closest("tr");
    if (!row) return;
    this.#active = Number(row.dataset.index);
    this.opened(this.#rows[this.#active]);
  }

  #pressed(event) {
    const step = KEY_STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const page = Math.max(1, Math.floor(innerHeight / this.#rowHeight) - 3);
    const last = this.#rows.length - 1;
    const from = Number(event.target.closest("tr").dataset.index);
    this.#focus(Math.max(0, Math.min(last, step(from, page, last))));
  }

  #focus(index) {
    this.#active = index;
    const height = this.#rowHeight;
    const top = this.body.getBoundingClientRect().top + index * height;
    const ceiling = this.head.getBoundingClientRect().height;
    if (top < ceiling) scrollBy(0, top - ceiling);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.#draw();
    this.body.querySelector(`tr[data-index="${index}"] button`).focus({ preventScroll: true });
  }
}

/** Return shape and word of a label; colour only repeats them. */
export function tag(label) {
  const mark = element("span", { class: "mark", "aria-hidden": "true" });
  return element("span", { class: "tag", "data-tone": toneOf(label) }, mark, capitalised(label));
}

/** What is narrower than a gap between two parts of a bar would show as a gap alone. */
const LEAST_SHARE = 0.005;

/** Return probabilities as one bar, said in words for those who cannot see it. */
export function bar(labels, probabilities) {
  const said = labels.map((label, index) => `${label} ${exactPercent(probabilities[index])}`);
  const text = said.join(", ");
  const made = element("div", { class: "bar", role: "img", "aria-label": text, title: text });
  labels.forEach((label, index) => {
    if (probabilities[index] < LEAST_SHARE) return;
    const part = element("span", { "data-tone": toneOf(label) });
    part.style.flexGrow = probabilities[index];
    made.append(part);
  });
  return made;
}

function cell(name, ...content) {
  return element("td", { role: "cell", class: `cell-${name}` }, ...content);
}

function textParts(row) {
  // The title is its name where a text has nothing visible.
  const title = `All of row ${row.number}`;
  const open = element("button", { type: "button", class: "open", title });
  // The direction of one text must not turn its neighbours around.
  open.append(element("bdi", { dir: "auto" }, row.text));
  if (row.state !== REFUSED) return [open];
  return [open, element("span", { class: "problem" }, row.problem)];
}

function noFigures(row) {
  const word = row.state === REFUSED ? "Not scored" : "Waiting";
  const mark = element("span", { class: "mark", "aria-hidden": "true" });
  const label = element("span", { class: "tag", "data-tone": row.state }, mark, word);
  return [cell("label", label), cell("score"), cell("spread"), cell("net")];
}
