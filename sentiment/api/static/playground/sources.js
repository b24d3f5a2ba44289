// Where texts come from: lines that were typed, or a file. Both give rows of { number, text }.

import { guessColumn, guessDelimiter, guessHeader, records } from "./csv.js";
import { count } from "./numbers.js";

/** More would outgrow the tallest page that browsers lay out; blank ones count. */
export const MAX_ROWS = 200_000;

/** A file is read whole, and takes several times its size in memory. */
export const MAX_FILE_BYTES = 100_000_000;

/** Work is cut into slices of so many milliseconds, so that the page stays fluid. */
const SLICE_MS = 12;

const BYTE_ORDER_MARKS = [
  [[0xff, 0xfe], "utf-16le"],
  [[0xfe, 0xff], "utf-16be"],
];

export class TooMuch extends Error {
  constructor(what) {
    super(`There are more than ${what}, which is what this page takes.`);
  }
}

export class Unreadable extends Error {}

const tooManyRows = () => new TooMuch(`${count(MAX_ROWS)} rows`);

/**
 * Return a row for each line that is not blank; `number` counts all lines, from 1.
 *
 * Throws `TooMuch`.
 */
export function rowsOfLines(text) {
  const lines = text.split(/\r\n|\r|\n/, MAX_ROWS + 2); // nothing stands behind the last break
  if (lines.length > MAX_ROWS + 1 || lines[MAX_ROWS]) throw tooManyRows();
  return lines
    .map((line, index) => ({ number: index + 1, text: line }))
    .filter(hasText);
}

const hasText = (row) => row.text.trim() !== "";

/** Return what a file says, as UTF-8, UTF-16 if it is marked so, or else Windows-1252. */
export function decoded(bytes) {
  for (const [mark, encoding] of BYTE_ORDER_MARKS) {
    if (mark.every((byte, index) => bytes[index] === byte)) {
      return new TextDecoder(encoding).decode(bytes);
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes); // what old spreadsheets write
  }
}

/** Let the browser draw and hear its user, if this slice of work has lasted long enough. */
function slices() {
  let beganAt = performance.now();
  return async () => {
    if (performance.now() - beganAt < SLICE_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    beganAt = performance.now();
  };
}

/**
 * Return what was read from a `File`: `{ name, rows }` of lines, or a `Table` of a CSV or TSV.
 *
 * Throws `TooMuch`, `Unreadable`, and `CsvError` where the file is no CSV.
 */
export async function readFile(file) {
  if (file.size > MAX_FILE_BYTES) throw new TooMuch(`${count(MAX_FILE_BYTES / 1e6)} MB`);
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Unreadable("The browser cannot read it. Is it a folder, or has it changed?");
  });
  const text = decoded(new Uint8Array(bytes));
  if (!/\.(csv|tsv|tab)$/i.test(file.name) && !/csv|tab-separated/.test(file.type)) {
    return { name: file.name, table: null, rows: rowsOfLines(text.replace(/^\ufeff/, "")) };
  }
  const breathe = slices();
  const table = [];
  for (const record of records(text, guessDelimiter(text))) {
    if (table.length === MAX_ROWS) throw tooManyRows();
    table.push(record);
    await breathe();
  }
  return { name: file.name, table: new Table(table), rows: null };
}

/** A file's records, and which column of them is meant. */
export class Table {
  constructor(all) {
    this.records = all;
    this.hasHeader = guessHeader(all);
    this.column = guessColumn(all, this.hasHeader);
  }

  /** Names of the columns; a letter, as in a spreadsheet, where there is none. */
  get names() {
    let width = 0;
    for (const record of this.records) width = Math.max(width, record.length);
    const header = this.hasHeader ? this.records[0] : [];
    const name = (_, index) => header[index]?.trim() || columnLetter(index);
    return Array.from({ length: width }, name);
  }

  /** A row for each record that has a text; `number` is the row in a spreadsheet, from 1. */
  get rows() {
    return this.records
      .map((record, index) => ({ number: index + 1, text: record[this.column] ?? "" }))
      .slice(this.hasHeader ? 1 : 0)
      .filter(hasText);
  }
}

function columnLetter(index) {
  return index < 26 ? `Column ${String.fromCharCode(65 + index)}` : `Column ${index + 1}`;
}
