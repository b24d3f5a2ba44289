// The buttons that show the rows of one label only.

import { byId, element } from "./dom.js";
import { capitalised, toneOf } from "./labels.js";
import { REFUSED } from "./results.js";

/** Draw a button for each of `labels`; `chosen` is called with that of a press, `null` for all. */
export function drawFilters(labels, chosen) {
  const choices = [
    [null, "All"],
    ...labels.map((label) => [label, capitalised(label)]),
    [REFUSED, "Not scored"],
  ];
  const buttons = choices.map(([label, title]) => {
    const mark = element("span", { class: "mark", "aria-hidden": "true" });
    const button = element(
      "button",
      { type: "button", "aria-pressed": String(label === null) },
      ...(label === null ? [] : [mark]),
      title,
    );
    if (label !== null) button.dataset.tone = label === REFUSED ? REFUSED : toneOf(label);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      chosen(label);
    });
    return button;
  });
  byId("filters").replaceChildren(...buttons);
}
