// Elements made from values. Text is only ever text: nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

/** Return a new element; `null` and `false` attributes are left out, children are nodes or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Call `draw` before the next frame, once, however often the result is called until then. */
export function beforeNextFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
