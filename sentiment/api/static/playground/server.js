// The server, as this page sees it. Addresses are relative, so that a path prefix works.

/** A refusal in the server's own words: what its problem document says (RFC 9457). */
export class Refusal extends Error {
  constructor(problem, { status, retryAfterMs = null }) {
    super(problem.title);
    this.status = status;
    this.title = problem.title;
    this.detail = problem.detail;
    this.code = problem.code ?? null;
    this.requestId = problem.request_id ?? null;
    this.textsThatFit = problem.texts_that_fit ?? null;
    this.retryAfterMs = retryAfterMs;
    this.errors = problem.errors ?? [];
  }

  /** Return index -> detail of the wrong texts, from pointers such as `/3` and `/3/text`. */
  wrongTexts() {
    const wrong = new Map();
    for (const { pointer, detail } of this.errors) {
      const match = /^\/(\d+)(\/|$)/.exec(pointer ?? "");
      if (match) wrong.set(Number(match[1]), detail);
    }
    return wrong;
  }
}

const UNREACHABLE = {
  title: "No answer",
  detail: "The server cannot be reached. It may be starting again, or the network is down.",
};

/** One server. The key is kept here, in memory, and nowhere else. */
export class Server {
  #key = null;

  get hasKey() {
    return this.#key !== null;
  }

  set key(value) {
    this.#key = value || null;
  }

  /** Return what `GET /info` says. Throws `Refusal`; an `AbortError` where `signal` ends it. */
  async info(signal) {
    const { response } = await this.#fetch("info", { signal });
    return response.json();
  }

  /**
   * Classify texts; return all labels of each, best first, and what the headers say.
   *
   * Throws `Refusal`; an `AbortError` where `signal` ends it.
   */
  async classify(texts, { topK, signal }) {
    const { response, sentAt } = await this.#fetch(`./?top_k=${topK}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(texts),
      signal,
    });
    const answers = await response.json();
    return {
      answers,
      model: response.headers.get("X-Model"),
      truncated: Number(response.headers.get("X-Truncated") ?? 0),
      roundTripMs: performance.now() - sentAt,
      timing: parseTiming(response.headers.get("Server-Timing") ?? ""),
    };
  }

  async #fetch(path, options = {}) {
    const headers = { Accept: "application/json", ...options.headers };
    if (this.#key !== null) headers.Authorization = `Bearer ${this.#key}`;
    const sentAt = performance.now();
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new Refusal(UNREACHABLE, { status: 0, retryAfterMs: 1000 });
    }
    if (!response.ok) throw await refusal(response);
    return { response, sentAt };
  }
}

async function refusal(response) {
  const { status } = response;
  const retryable = status === 429 || status === 503;
  let problem;
  try {
    problem = await response.json();
  } catch {
    // A proxy between this page and the server has words of its own, not meant for people.
    problem = { title: `Status ${status}`, detail: "This answer did not come from the server." };
  }
  const inMs = problem.retry_after_ms ?? Number(response.headers.get("Retry-After") ?? 1) * 1000;
  const retryAfterMs = retryable ? (Number.isFinite(inMs) ? inMs : 1000) : null;
  return new Refusal(problem, { status, retryAfterMs });
}

/** Return name -> milliseconds of a `Server-Timing` header. */
export function parseTiming(header) {
  const found = header.matchAll(/([\w-]+)\s*;\s*dur=([\d.]+)/g);
  return Object.fromEntries([...found].map(([, name, ms]) => [name, Number(ms)]));
}
