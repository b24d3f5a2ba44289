// The figures above the table: how it stands on the whole, and how fast it went.

import { bar, tag } from "./table.js";
import { byId, element } from "./dom.js";
import { balance, count, duration, percent, plural } from "./numbers.js";

const NOTHING_YET = "\u2013";

/** What the answers of one run said of the model and of time. */
export class Measurements {
  constructor() {
    this.requests = [];
    this.truncated = 0;
    this.texts = 0;
    this.elapsedMs = 0;
    this.model = null;
  }

  add(answer) {
    this.requests.push({ roundTripMs: answer.roundTripMs, ...answer.timing });
    this.truncated += answer.truncated;
    this.texts += answer.answers.length;
    this.model = answer.model;
  }

  /** Return the median of a figure over the requests. */
  median(name) {
    const sorted = this.requests.map((request) => request[name] ?? 0).sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
}

export function drawSummary(results) {
  const { net, scored } = results;
  const figure = byId("net");
  figure.textContent = scored ? balance(net) : NOTHING_YET;
  figure.dataset.tone = net > 0 ? "positive" : net < 0 ? "negative" : "neutral";
  byId("net-block").hidden = !results.haveBalance;
  byId("mean-net").textContent = scored ? balance(results.meanNet) : NOTHING_YET;
  const shares = results.labels.map((label) => results.counts.get(label) / (scored || 1));
  byId("shares").replaceChildren(bar(results.labels, shares));
  byId("counts").replaceChildren(
    ...results.labels.map((label, index) =>
      element(
        "li",
        {},
        tag(label),
        element("span", { class: "figure" }, count(results.counts.get(label))),
        element("span", { class: "share" }, percent(shares[index])),
      ),
    ),
  );
}

export function drawMeasurements(measured, { maxTokens }) {
  const draw = (id, figure) => {
    byId(id).textContent = measured.requests.length ? figure() : NOTHING_YET;
  };
  draw("speed", () => count((measured.texts * 1000) / measured.elapsedMs));
  draw("round-trip", () => duration(measured.median("roundTripMs")));
  draw("in-model", () => duration(measured.median("infer")));
  draw("in-queue", () => duration(measured.median("queue")));
  draw("answered-by", () => measured.model);
  byId("truncated").hidden = !measured.truncated;
  const which = plural(measured.truncated, "long text");
  const read = `the first ${count(maxTokens)} tokens`;
  byId("truncated").textContent = `Of ${which} the model read ${read} only.`;
}
