// What a label means: its tone decides colour, shape and sign.

const ORDER = ["positive", "neutral", "negative"];

/** Return "positive", "negative" or "neutral" for a label of whatever model. */
export function toneOf(label) {
  if (/positiv|bull/i.test(label)) return "positive";
  if (/negativ|bear/i.test(label)) return "negative";
  return "neutral";
}

/** Return labels in the order in which they are shown: good news first. */
export function shownOrder(labels) {
  return [...labels].sort((a, b) => ORDER.indexOf(toneOf(a)) - ORDER.indexOf(toneOf(b)));
}

/** Return whether a balance of good and bad can be drawn from these labels. */
export function haveBalance(labels) {
  const tones = new Set(labels.map(toneOf));
  return tones.has("positive") && tones.has("negative");
}

/** Return the label with a capital letter, as a heading or a cell shows it. */
export const capitalised = (label) => label.charAt(0).toUpperCase() + label.slice(1);
