// The page: what was entered goes to the server, and what it answers to the table.

import { beforeNextFrame, byId, element } from "./dom.js";
import { showDetail } from "./detail.js";
import { drawFilters } from "./filters.js";
import { Input } from "./input.js";
import { count, duration, plural } from "./numbers.js";
import { askForKey, hideProblem, showProblem, showRefusal } from "./problem.js";
import { Results } from "./results.js";
import { overLimit, Scoring } from "./scoring.js";
import { Refusal, Server } from "./server.js";
import { drawMeasurements, drawSummary, Measurements } from "./summary.js";
import { ResultsTable } from "./table.js";
import { drawCurl } from "./terminal.js";

/** How many wrong rows are named before they are sent. */
const NAMED_ROWS = 5;

const server = new Server();
const input = new Input({ changed: inputChanged, failed: showProblem });
const table = new ResultsTable(byId("table"), {
  opened: (row) => showDetail(row, results),
});

let info = null;
let scoring = null;
let measured = null;

/** What the table shows; `stale` once something else is entered, so that the next run is new. */
let results = null;
let stale = true;

/** Of a run, the last that was read out. */
let quarterSaid = 0;

const drawResults = beforeNextFrame(() => {
  if (!results) return;
  const rows = results.shown();
  table.show(rows, results.labels);
  byId("shown").textContent =
    rows.length === results.rows.length
      ? plural(rows.length, "text")
      : `${count(rows.length)} of ${plural(results.rows.length, "text")}`;
  byId("filters").lastElementChild.hidden = results.refused === 0;
  byId("nothing-shown").hidden = rows.length > 0;
  byId("download").disabled = rows.length === 0;
  drawSummary(results);
  drawMeasurements(measured, { maxTokens: info.model.max_tokens });
  byId("progress").max = results.rows.length;
  byId("progress").value = results.done;
});

/** Ask what is served; return whether that is known now. `signal` ends it without a word. */
async function loadInfo(signal) {
  try {
    info = await server.info(signal);
  } catch (error) {
    if (signal?.aborted) return false;
    if (!(error instanceof Refusal)) throw error;
    showRefusal(error);
    return false;
  }
  const { model, engine } = info;
  byId("model").textContent = model.revision ? `${model.name}@${model.revision}` : model.name;
  byId("engine").textContent = `${engine.name} ${engine.precision} on ${engine.device}`;
  hideProblem();
  drawPlan();
  return true;
}

async function useKey(key) {
  server.key = key;
  return loadInfo();
}

function inputChanged() {
  stale = true;
  hideProblem();
  drawPlan();
}

/** Return what pressing the button will do. */
function plan() {
  if (scoring) return "Stop";
  if (!stale && results.waiting.length) return `Score the other ${count(results.waiting.length)}`;
  return input.rows.length ? `Score ${plural(input.rows.length, "text")}` : "Score";
}

/** Say what would be done with what is entered, and which texts the server would refuse. */
function drawPlan() {
  const { rows, noun } = input;
  byId("score").textContent = plan();
  byId("score").classList.toggle("stop", scoring !== null);
  drawCurl(rows, { topK: info?.model.labels.length ?? 3, withKey: server.hasKey });
  const wrong = info ? rows.filter((row) => overLimit(row.text, info.limits)) : [];
  byId("over-limit").hidden = wrong.length === 0;
  if (wrong.length === 0) return;
  const named = wrong.slice(0, NAMED_ROWS).map((row) => count(row.number));
  const where = `${noun}${wrong.length > 1 ? "s" : ""} ${named.join(", ")}`;
  const more = wrong.length > NAMED_ROWS ? ` and ${count(wrong.length - NAMED_ROWS)} more` : "";
  const why = overLimit(wrong[0].text, info.limits);
  byId("over-limit").textContent = `Will be left out: ${where}${more} (${why}).`;
}

async function startOrStop() {
  if (scoring) {
    scoring.stop();
    return;
  }
  hideProblem();
  scoring = new Scoring(server); // before anything is waited for: the next press stops this run
  drawPlan();
  try {
    await start(scoring);
  } finally {
    scoring = null;
    drawPlan();
  }
}

async function start(run) {
  if (!info) {
    say("Waiting for the server");
    const known = await loadInfo(run.signal);
    say(run.stopped ? "Stopped: nothing was sent" : "");
    if (!known || run.stopped) return;
  }
  if (input.rows.length === 0) {
    say("There is nothing to score: type or paste texts, one a line, or choose a file.");
    byId("texts").focus();
    return;
  }
  if (stale || results.waiting.length === 0) begin();
  await goOn(run);
}

/** Make a fresh table of what is entered; what is over a limit is refused here. */
function begin() {
  results = new Results(input.rows, info.model.labels);
  measured = new Measurements();
  stale = false;
  quarterSaid = 0;
  for (const row of results.rows) {
    const why = overLimit(row.text, info.limits);
    if (why) results.refuse(row, `not sent: ${why}`);
  }
  drawFilters(results.labels, (label) => {
    results.filter.label = label;
    drawResults();
  });
  byId("words").value = "";
  drawSorting();
  byId("empty").hidden = true;
  byId("report").hidden = false;
}

async function goOn(run) {
  byId("progress").hidden = false;
  say(`Scoring ${plural(results.waiting.length, "text")}`);
  drawResults();
  if (matchMedia("(max-width: 60rem)").matches) byId("results").scrollIntoView();
  const already = measured.elapsedMs;
  const beganAt = performance.now();
  let failure = null;
  function answered(rows, answer) {
    rows.forEach((row, index) => results.answer(row, answer.answers[index]));
    measured.add(answer);
    measured.elapsedMs = already + performance.now() - beganAt;
    progressed();
  }
  try {
    await run.run(results.waiting, {
      limits: info.limits,
      topK: info.model.labels.length,
      heard: { answered, refused, waiting },
    });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    failure = error;
  } finally {
    byId("progress").hidden = true;
    drawResults();
  }
  finished(failure);
}

function refused(row, detail) {
  results.refuse(row, detail);
  drawResults();
}

function waiting(refusal, ms) {
  byId("status").textContent =
    `${refusal.title}: ${refusal.detail}. Going on in ${duration(ms)}.`;
}

/** Show how far it is; say it aloud at each quarter only. */
function progressed() {
  const { done, rows } = results;
  const text = `${count(done)} of ${plural(rows.length, "text")}`;
  byId("status").textContent = text;
  const quarter = Math.floor((4 * done) / rows.length);
  if (quarter !== quarterSaid && quarter < 4) byId("said").textContent = text;
  quarterSaid = quarter;
  drawResults();
}

function finished(failure) {
  const { scored, rows } = results;
  const refusedCount = results.refused ? `, ${count(results.refused)} not` : "";
  const left = results.waiting.length;
  if (left) say(`Stopped: ${count(scored)} of ${plural(rows.length, "text")} scored`);
  else say(`${plural(scored, "text")} scored${refusedCount}, in ${duration(measured.elapsedMs)}`);
  if (failure) showRefusal(failure);
}

/** Show a message, and have it read out. */
function say(text) {
  byId("status").textContent = text;
  byId("said").textContent = text;
}

function sortBy(by) {
  const { sorting } = results;
  // Figures are read from the top, words and rows from the beginning.
  const firstDescending = by === "score" || by === "net";
  sorting.descending = sorting.by === by ? !sorting.descending : firstDescending;
  sorting.by = by;
  drawSorting();
  drawResults();
}

function drawSorting() {
  const { by, descending } = results.sorting;
  for (const button of byId("table").tHead.querySelectorAll("button")) {
    const sorted = button.dataset.by === by;
    const direction = descending ? "descending" : "ascending";
    button.parentElement.setAttribute("aria-sort", sorted ? direction : "none");
  }
}

function download() {
  const csv = results.csv(results.shown());
  const link = element("a", {
    href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })),
    download: "sentiment.csv",
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

byId("input").addEventListener("submit", (event) => {
  event.preventDefault();
  startOrStop();
});
byId("score").addEventListener("click", (event) => {
  if (event.detail > 1) event.preventDefault(); // the second half of a double click stops nothing
});
byId("texts").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("input").requestSubmit();
});
askForKey(useKey);
byId("words").addEventListener("input", ({ target }) => {
  results.words = target.value;
  drawResults();
});
byId("table").tHead.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  if (button) sortBy(button.dataset.by);
});
byId("download").addEventListener("click", download);

loadInfo();
