// CSV as RFC 4180 has it, read leniently and written strictly.

const DELIMITERS = [",", ";", "\t", "|"];

const SAMPLE_RECORDS = 50;

/** What is likely to be a column of texts, by its name. */
const TEXT_NAME = new RegExp(
  "^(.*[ _-])?(texts?|headlines?|titles?|sentences?|news|comments?|content|body|messages?" +
    "|tweets?|posts?|summary|description)$",
  "i",
);

/** What a spreadsheet takes for a formula, if a cell begins so; full-width forms too. */
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

export class CsvError extends Error {}

/**
 * Yield the records of `text`, each an array of cells.
 *
 * Quoted cells may hold delimiters, line breaks and doubled quotes; lines end with LF, CRLF
 * or CR; a byte order mark is skipped. What follows a closing quote is kept, as spreadsheets do.
 *
 * Throws `CsvError` where a quote is never closed.
 */
export function* records(text, delimiter) {
  const unquoted = new RegExp(`[^${delimiter === "\t" ? "\\t" : `\\${delimiter}`}\\r\\n]*`, "y");
  let position = text.startsWith("\ufeff") ? 1 : 0;
  for (let number = 1; position < text.length; number += 1) {
    const cells = [];
    for (;;) {
      let cell = "";
      if (text[position] === '"') {
        [cell, position] = quoted(text, position, number);
      }
      unquoted.lastIndex = position;
      const [rest] = unquoted.exec(text);
      cells.push(cell + rest);
      position += rest.length;
      if (text[position] !== delimiter) break;
      position += 1;
    }
    if (text[position] === "\r" && text[position + 1] === "\n") position += 1;
    position += 1;
    yield cells;
  }
}

/** Return the content of the quoted cell that begins at `start`, and where it ends. */
function quoted(text, start, number) {
  let content = "";
  let from = start + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) throw new CsvError(`A quote that opens in row ${number} is never closed.`);
    content += text.slice(from, quote);
    if (text[quote + 1] !== '"') return [content, quote + 1];
    content += '"';
    from = quote + 2;
  }
}

function sample(text, delimiter) {
  const taken = [];
  try {
    for (const record of records(text, delimiter)) {
      if (record.length > 1 || record[0] !== "") taken.push(record);
      if (taken.length === SAMPLE_RECORDS) break;
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
  }
  return taken;
}

/** Return the delimiter by which most records have as many cells as the first. */
export function guessDelimiter(text) {
  let best = { delimiter: ",", agreeing: 0, width: 1 };
  for (const delimiter of DELIMITERS) {
    const taken = sample(text, delimiter);
    const width = taken[0]?.length ?? 1;
    const agreeing = taken.filter((record) => record.length === width).length;
    const better = agreeing > best.agreeing || (agreeing === best.agreeing && width > best.width);
    if (width > 1 && better) best = { delimiter, agreeing, width };
  }
  return best.delimiter;
}

const isNumber = (cell) => cell.trim() !== "" && Number.isFinite(Number(cell));

/**
 * Return whether the first record holds names.
 *
 * It does if one of them is a likely name, or if it has no number where others have.
 */
export function guessHeader(table) {
  const [first = [], ...others] = table.slice(0, SAMPLE_RECORDS);
  if (others.length === 0) return false;
  if (first.some((cell) => TEXT_NAME.test(cell.trim()))) return true;
  if (first.some(isNumber)) return false;
  return first.some((_, column) => others.every((record) => isNumber(record[column] ?? "")));
}

/** Return the column that most likely holds texts: by name, else by what is longest. */
export function guessColumn(table, hasHeader) {
  const rows = table.slice(hasHeader ? 1 : 0, SAMPLE_RECORDS);
  const width = Math.max(0, ...table.slice(0, SAMPLE_RECORDS).map((record) => record.length));
  let best = { column: 0, weight: -1 };
  for (let column = 0; column < width; column += 1) {
    const cells = rows.map((record) => record[column] ?? "");
    const characters = cells.reduce((sum, cell) => sum + (isNumber(cell) ? 0 : cell.length), 0);
    const named = hasHeader && TEXT_NAME.test((table[0][column] ?? "").trim());
    const weight = characters + (named ? 1e9 : 0);
    if (weight > best.weight) best = { column, weight };
  }
  return best.column;
}

/** Return a client's text as a cell that no spreadsheet runs as a formula. */
export const guarded = (text) => (FORMULA.test(text) ? `'${text}` : text);

/** Return one line of CSV, with its line break. */
export function csvLine(cells) {
  return cells.map((cell) => quotedIfNeeded(String(cell))).join(",") + "\r\n";
}

function quotedIfNeeded(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
