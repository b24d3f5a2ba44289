// The curl command on the page, and the button that copies it.

import { curlCommand } from "./curl.js";
import { byId } from "./dom.js";
import { count, plural } from "./numbers.js";

/** How many texts the command holds, and how long they are, so that it can be read. */
const MAX_TEXTS = 5;
const MAX_CHARACTERS = 300;

const SAMPLE = ["Profit rose"];

/** Show the command that asks for the first of `rows`. */
export function drawCurl(rows, { topK, withKey }) {
  const texts = rows
    .slice(0, MAX_TEXTS)
    .map((row) => row.text)
    .filter((text) => text.length <= MAX_CHARACTERS);
  const url = new URL("./", document.baseURI).href;
  byId("curl").textContent = curlCommand(texts.length ? texts : SAMPLE, { url, topK, withKey });
  const some = rows.length > texts.length;
  const note = `${count(texts.length)} of ${plural(rows.length, "text")}`;
  byId("curl-note").textContent = some ? note : "";
  byId("copied").textContent = "";
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("curl").textContent);
    byId("copied").textContent = "Copied";
  } catch {
    // Over plain HTTP browsers give no clipboard; the reader's own key works.
    getSelection().selectAllChildren(byId("curl"));
    byId("copied").textContent = "Selected: press Ctrl+C";
  }
}

byId("copy").addEventListener("click", copy);
