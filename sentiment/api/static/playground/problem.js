// What went wrong, in the server's own words; and the key, where one is wanted.

import { byId } from "./dom.js";

/** Show a `Refusal`; one for want of a key opens the field for it. */
export function showRefusal(refusal) {
  showProblem(refusal);
  if (refusal.status !== 401) return;
  byId("key-form").hidden = false;
  byId("key").focus();
}

export function showProblem({ title, detail, code = null, requestId = null }) {
  byId("problem-title").textContent = title;
  byId("problem-detail").textContent = detail;
  byId("problem-id").textContent = requestId ? `${code} \u00b7 request ${requestId}` : "";
  byId("problem").hidden = false;
}

export function hideProblem() {
  byId("problem").hidden = true;
}

/** Call `accepts(key)` with a key that was entered; if it is the right one the field goes. */
export function askForKey(accepts) {
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!(await accepts(byId("key").value.trim()))) return;
    byId("key-form").hidden = true;
    byId("key").value = "";
    byId("texts").focus();
  });
}
