// How figures are written: one way for each kind, everywhere on the page.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat("en-GB", { style: "percent", maximumFractionDigits: 0 });
const exact = new Intl.NumberFormat("en-GB", { style: "percent", minimumFractionDigits: 2 });
const signed = new Intl.NumberFormat("en-GB", {
  signDisplay: "exceptZero",
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});

/** 10000 -> "10,000" */
export const count = (value) => whole.format(value);

/** 0.904 -> "90%" */
export const percent = (value) => share.format(value);

/** 0.90417 -> "90.42%" */
export const exactPercent = (value) => exact.format(value);

/** -0.254 -> "−0.25", with a true minus sign */
export const balance = (value) => signed.format(value).replace("-", "\u2212");

/** 1234 -> "1.23 s", 87.3 -> "87 ms"; takes milliseconds */
export const duration = (ms) =>
  ms < 1000 ? `${whole.format(ms)} ms` : `${three.format(ms / 1000)} s`;

/** 1, "text" -> "1 text"; 2, "text" -> "2 texts" */
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
