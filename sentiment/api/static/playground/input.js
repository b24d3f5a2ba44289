// The left side of the page: what is to be classified.

import { beforeNextFrame, byId, element } from "./dom.js";
import { CsvError } from "./csv.js";
import { EXAMPLES } from "./examples.js";
import { plural } from "./numbers.js";
import { readFile, rowsOfLines, TooMuch, Unreadable } from "./sources.js";

const PREVIEWED = 3;

/** Browsers take seconds to lay out a field of thousands of lines: more become a list at once. */
const MAX_FIELD_LINES = 500;

/** Texts from the field or from a file; `changed` is called when they are others. */
export class Input {
  #file = null;
  #rows = null;

  constructor({ changed, failed }) {
    this.changed = changed;
    this.failed = failed;
    const announce = beforeNextFrame(() => this.changed());
    byId("texts").addEventListener("input", () => {
      this.#rows = null;
      announce();
    });
    byId("texts").addEventListener("paste", (event) => this.#paste(event));
    byId("file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.open(target.files[0]);
      target.value = ""; // the same file may be chosen again
    });
    byId("column").addEventListener("change", ({ target }) => {
      this.#file.table.column = Number(target.value);
      this.#show();
    });
    byId("header").addEventListener("change", ({ target }) => {
      this.#file.table.hasHeader = target.checked;
      this.#show();
    });
    byId("remove-file").addEventListener("click", () => this.#close());
    this.#listExamples();
    this.#acceptDrops();
  }

  /** The rows `{ number, text }` to classify. */
  get rows() {
    this.#rows ??= this.#file
      ? this.#file.table?.rows ?? this.#file.rows
      : this.#linesOf("Typed lines", byId("texts").value) ?? [];
    return this.#rows;
  }

  /** What a row is called: a file's rows are those of a spreadsheet. */
  get noun() {
    return this.#file?.table ? "row" : "line";
  }

  /** Read `file` and take its texts. */
  async open(file) {
    try {
      this.#take(await readFile(file));
    } catch (error) {
      this.#fail(file.name, error);
    }
  }

  /** Return the rows of `text`; `null`, having said so, if they are too many. */
  #linesOf(name, text) {
    try {
      return rowsOfLines(text);
    } catch (error) {
      this.#fail(name, error);
      return null;
    }
  }

  #fail(name, error) {
    const expected = [CsvError, TooMuch, Unreadable];
    if (!expected.some((kind) => error instanceof kind)) throw error;
    this.failed({ title: `${name} cannot be used`, detail: error.message });
  }

  #paste(event) {
    const { value, selectionStart, selectionEnd } = event.target;
    const pasted = event.clipboardData.getData("text/plain");
    const text = value.slice(0, selectionStart) + pasted + value.slice(selectionEnd);
    const name = "Pasted lines";
    const rows = this.#linesOf(name, text);
    if (rows && rows.length <= MAX_FIELD_LINES) return;
    event.preventDefault();
    if (rows) this.#take({ name, table: null, rows });
  }

  /** Use what was read or pasted. */
  #take(read) {
    this.#file = read;
    this.#show();
    byId("score").focus();
  }

  #close() {
    this.#file = null;
    this.#show();
    byId("texts").focus();
  }

  #show() {
    this.#rows = null;
    const { table = null, name = "" } = this.#file ?? {};
    byId("typed").hidden = this.#file !== null;
    byId("chosen").hidden = this.#file === null;
    byId("file-name").textContent = name;
    byId("pick").hidden = table === null;
    if (table) {
      byId("header").checked = table.hasHeader;
      const options = table.names.map((title, index) =>
        element("option", { value: index, selected: index === table.column }, title),
      );
      byId("column").replaceChildren(...options);
    }
    if (this.#file) this.#preview();
    this.changed();
  }

  #preview() {
    const items = this.rows
      .slice(0, PREVIEWED)
      .map(({ number, text }) =>
        element("li", { value: number }, element("bdi", { dir: "auto" }, text.slice(0, 300))),
      );
    byId("preview").replaceChildren(...items);
    byId("file-rows").textContent = plural(this.rows.length, "text");
  }

  #listExamples() {
    const buttons = Object.entries(EXAMPLES).map(([name, headlines]) => {
      const button = element("button", { type: "button", class: "chip" }, name);
      button.addEventListener("click", () => {
        byId("texts").value = headlines.join("\n");
        this.#file = null;
        this.#show();
      });
      return button;
    });
    byId("examples").append(...buttons);
  }

  #acceptDrops() {
    const zone = document.documentElement;
    const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
    zone.addEventListener("dragover", (event) => {
      if (!carriesFile(event)) return;
      event.preventDefault();
      zone.classList.add("dropping");
    });
    zone.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) zone.classList.remove("dropping");
    });
    zone.addEventListener("drop", (event) => {
      if (!carriesFile(event)) return;
      event.preventDefault(); // or the browser leaves this page for the file
      zone.classList.remove("dropping");
      this.open(event.dataTransfer.files[0]);
    });
  }
}
