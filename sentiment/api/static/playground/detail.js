// All of one text, and what the model says of it to the last digit.

import { bar, tag } from "./table.js";
import { byId, element } from "./dom.js";
import { balance, count, exactPercent } from "./numbers.js";
import { SCORED } from "./results.js";

/** Show `row` in the dialog, until its reader closes it. */
export function showDetail(row, results) {
  byId("detail-title").textContent = `Row ${count(row.number)}`;
  byId("detail-text").textContent = row.text;
  const parts = row.state === SCORED ? figures(row, results) : [element("p", {}, status(row))];
  byId("detail-figures").replaceChildren(...parts);
  byId("detail").showModal();
}

const status = (row) => (row.problem ? `Not scored: ${row.problem}` : "Not scored yet");

function figures(row, { labels, haveBalance }) {
  const list = labels.map((label, index) =>
    element(
      "div",
      {},
      element("dt", {}, tag(label)),
      element("dd", {}, exactPercent(row.probabilities[index])),
    ),
  );
  if (haveBalance) {
    const said = element("dt", {}, "Positive less negative");
    list.push(element("div", {}, said, element("dd", {}, balance(row.net))));
  }
  return [bar(labels, row.probabilities), element("dl", {}, ...list)];
}

byId("detail").addEventListener("click", ({ target }) => {
  // What is not inside the dialog is its backdrop.
  if (target === byId("detail") || target === byId("detail-close")) byId("detail").close();
});
