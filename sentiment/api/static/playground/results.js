// What is known of each text, and which of it is to be seen in which order. Knows no page.

import { haveBalance, shownOrder, toneOf } from "./labels.js";
import { csvLine, guarded } from "./csv.js";

export const WAITING = "waiting";
export const SCORED = "scored";
export const REFUSED = "refused";

/** What a column sorts by, rows without an answer last. */
const SORT_KEYS = {
  number: (row) => row.number,
  text: (row) => row.key,
  label: (row) => row.label,
  score: (row) => row.score,
  net: (row) => row.net,
};

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

export class Results {
  constructor(rows, labels) {
    this.labels = shownOrder(labels);
    this.haveBalance = haveBalance(labels);
    this.rows = rows.map(({ number, text }) => ({
      number,
      text,
      key: text.toLocaleLowerCase("en"),
      state: WAITING,
      label: null,
      score: null,
      net: null,
      probabilities: null,
      problem: null,
    }));
    this.counts = new Map(this.labels.map((label) => [label, 0]));
    this.scored = 0;
    this.refused = 0;
    this.netSum = 0;
    this.filter = { label: null, words: [] };
    this.sorting = { by: "number", descending: false };
  }

  get waiting() {
    return this.rows.filter((row) => row.state === WAITING);
  }

  get done() {
    return this.scored + this.refused;
  }

  /** Note the server's answer for `row`: its labels with their scores, best first. */
  answer(row, ranked) {
    const scores = Object.fromEntries(ranked.map(({ label, score }) => [label, score]));
    row.state = SCORED;
    row.label = ranked[0].label;
    row.score = ranked[0].score;
    row.probabilities = this.labels.map((label) => scores[label] ?? 0);
    row.net = this.labels.reduce((net, label, index) => {
      const tone = toneOf(label);
      if (tone === "neutral") return net;
      return net + (tone === "positive" ? 1 : -1) * row.probabilities[index];
    }, 0);
    this.counts.set(row.label, (this.counts.get(row.label) ?? 0) + 1);
    this.netSum += row.net;
    this.scored += 1;
  }

  /** Note that `row` has no answer, and why. */
  refuse(row, problem) {
    row.state = REFUSED;
    row.problem = problem;
    this.refused += 1;
  }

  /** Share of positive texts less that of negative ones, -1 to 1. */
  get net() {
    const total = [...this.counts].reduce((sum, [label, count]) => {
      const tone = toneOf(label);
      return sum + (tone === "positive" ? count : tone === "negative" ? -count : 0);
    }, 0);
    return this.scored ? total / this.scored : 0;
  }

  /** Mean of each text's P(positive) - P(negative), -1 to 1. */
  get meanNet() {
    return this.scored ? this.netSum / this.scored : 0;
  }

  set words(text) {
    this.filter.words = text.toLocaleLowerCase("en").split(/\s+/).filter(Boolean);
  }

  /** Return the rows to be seen, in their order. */
  shown() {
    const { label, words } = this.filter;
    const kept = this.rows.filter(
      (row) =>
        (label === null || (label === REFUSED ? row.state === REFUSED : row.label === label)) &&
        words.every((word) => row.key.includes(word)),
    );
    const { by, descending } = this.sorting;
    if (by === "number" && !descending) return kept;
    const key = SORT_KEYS[by];
    const direction = descending ? -1 : 1;
    return kept.sort((a, b) => {
      const [first, second] = [key(a), key(b)];
      if (first === null || second === null) return (first === null) - (second === null);
      return direction * compare(first, second) || a.number - b.number;
    });
  }

  /** Return `rows` as CSV for a spreadsheet, with a byte order mark, which Excel needs. */
  csv(rows) {
    const lines = [csvLine(["row", "text", "label", "score", ...this.labels, "problem"])];
    for (const row of rows) {
      const scores = row.probabilities ?? this.labels.map(() => "");
      const cells = [row.number, guarded(row.text), row.label, row.score, ...scores, row.problem];
      lines.push(csvLine(cells.map((cell) => cell ?? "")));
    }
    return `\ufeff${lines.join("")}`;
  }
}
