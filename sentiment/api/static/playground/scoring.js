// Many texts become requests of a size that suits the server, a few of them at a time.

import { Refusal } from "./server.js";

export const CHUNK_TEXTS = 256;

/** Two requests keep the engine busy while an answer travels; more would only wait in line. */
const LANES = 2;

/** How often in a row a request goes to a server that cannot answer. */
const MAX_ATTEMPTS = 5;

const encoder = new TextEncoder();

const BRACKETS = 2;

/** Return how much of a body a text takes, with its comma. */
const bytesOf = (text) => encoder.encode(JSON.stringify(text)).length + 1;

/** Return why a text would be refused, before it is sent; `null` if it fits `limits`. */
export function overLimit(text, limits) {
  if (text.length > limits.max_text_chars && [...text].length > limits.max_text_chars) {
    return `more than ${limits.max_text_chars.toLocaleString("en-GB")} characters`;
  }
  const mayBeLarge = text.length * 6 + 3 + BRACKETS > limits.max_body_bytes; // as \u0000 each
  if (mayBeLarge && bytesOf(text) + BRACKETS > limits.max_body_bytes) {
    return `more than ${limits.max_body_bytes.toLocaleString("en-GB")} bytes`;
  }
  return null;
}

/** Yield rows in chunks that no limit refuses. */
export function* chunks(rows, limits) {
  const mostTexts = Math.min(CHUNK_TEXTS, limits.max_texts);
  let chunk = [];
  let bytes = BRACKETS;
  for (const row of rows) {
    const more = bytesOf(row.text);
    const full = chunk.length === mostTexts || bytes + more > limits.max_body_bytes;
    if (full && chunk.length) {
      yield chunk;
      chunk = [];
      bytes = BRACKETS;
    }
    chunk.push(row);
    bytes += more;
  }
  if (chunk.length) yield chunk;
}

/** One run over many rows, which can be stopped before it begins. */
export class Scoring {
  #abort = new AbortController();
  #split = [];
  #pausedUntil = 0;

  constructor(server) {
    this.server = server;
  }

  /** Ends what the run waits for. */
  get signal() {
    return this.#abort.signal;
  }

  get stopped() {
    return this.signal.aborted;
  }

  /** End the run; requests on their way are hung up, which the server notices. */
  stop() {
    this.#abort.abort();
  }

  /**
   * Classify `rows`. Throws the `Refusal` that ended the run, if one did.
   *
   * `heard` is told what happens: `answered(rows, answer)`, `refused(row, detail)` for a text that
   * is wrong, and `waiting(refusal, ms)` when the server asks to come again later.
   */
  async run(rows, { limits, topK, heard }) {
    this.topK = topK;
    this.heard = heard;
    const planned = chunks(rows, limits);
    const next = () => this.#split.pop() ?? planned.next().value;
    const lane = async () => {
      for (let chunk = next(); chunk && !this.stopped; chunk = next()) await this.#settle(chunk);
    };
    let failure = null;
    const guardedLane = () =>
      lane().catch((error) => {
        if (!this.stopped) failure = error;
        this.stop(); // the other lane too
      });
    await Promise.all(Array.from({ length: LANES }, guardedLane));
    if (failure) throw failure;
  }

  /** Send `chunk` until each of its rows is answered or refused. */
  async #settle(chunk) {
    let failures = 0; // in a row: a round that gets on begins to count anew
    while (chunk.length) {
      await this.#pause();
      try {
        const texts = chunk.map((row) => row.text);
        const { topK, signal } = this;
        const answer = await this.server.classify(texts, { topK, signal });
        this.heard.answered(chunk, answer);
        return;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        failures = error.retryAfterMs === null ? 0 : failures + 1;
        chunk = this.#afterRefusal(chunk, error, failures);
      }
    }
  }

  /** Return what to send next of a chunk that was refused; throw if nothing would help. */
  #afterRefusal(chunk, refusal, failures) {
    if (refusal.retryAfterMs !== null && (refusal.status === 429 || failures < MAX_ATTEMPTS)) {
      this.#pausedUntil = Math.max(this.#pausedUntil, performance.now() + refusal.retryAfterMs);
      this.heard.waiting(refusal, refusal.retryAfterMs);
      return chunk;
    }
    const wrong = refusal.wrongTexts();
    if (wrong.size) {
      // A request is taken whole or not at all: the others go again without the wrong ones.
      wrong.forEach((detail, index) => this.heard.refused(chunk[index], detail));
      return chunk.filter((_, index) => !wrong.has(index));
    }
    const divisible = refusal.status === 413 || refusal.code === "inference-failed";
    if (refusal.textsThatFit > 0 && refusal.textsThatFit < chunk.length) {
      return this.#cut(chunk, refusal.textsThatFit);
    }
    if (divisible && chunk.length > 1) return this.#cut(chunk, Math.ceil(chunk.length / 2));
    if (divisible) {
      this.heard.refused(chunk[0], refusal.title);
      return [];
    }
    throw refusal;
  }

  #cut(chunk, size) {
    this.#split.push(chunk.slice(size));
    return chunk.slice(0, size);
  }

  /** Wait while the server has asked for patience, or until the run is stopped. */
  async #pause() {
    const { signal } = this;
    for (;;) {
      signal.throwIfAborted();
      const ms = this.#pausedUntil - performance.now();
      if (ms <= 0) return;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  }
}
