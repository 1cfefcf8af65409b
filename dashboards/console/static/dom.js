// Building and patching the document. Text enters through text nodes alone, so nothing that a bus, a person or an
// alarm says can become markup. Lives here: elements, patches, keyed lists, the priority mark.
// Not here: what any of it means.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `el("button.main", {type: "button", click: go}, "Go")`. Functions become listeners, true an empty
 * attribute, false and null none; children are nodes or text, null is left out.
 */
export function el(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  return furnish(node, attributes, children);
}

/** The same, for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Sets the text of a node that holds nothing else, if it differs. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Sets an attribute if it differs; null and false take it away. */
export function attr(node, name, value) {
  if (value == null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const wanted = value === true ? "" : String(value);
    if (node.getAttribute(name) !== wanted) node.setAttribute(name, wanted);
  }
}

/**
 * Makes the children of `parent` show `items`, in order. What is there already is kept and patched, so that focus,
 * a ticked box or a selection outlives an update; a node is moved only where the order really changed.
 */
export function keyed(parent, items, keyOf, make, patch) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const focused = document.activeElement;
  let place = parent.firstElementChild;
  const uses = new Map();
  for (const item of items) {
    const said = String(keyOf(item));
    const use = uses.get(said) ?? 0;
    uses.set(said, use + 1);
    const key = use ? `${said} #${use}` : said; // two lines may say the same
    let node = old.get(key);
    old.delete(key);
    if (!node) {
      node = make(item);
      node.dataset.key = key;
    }
    patch?.(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

/** The mark of a priority: shape and number. With a count of 0 it is hollow: a hall without alarms has no colour. */
export function mark(priority, unacknowledged = false) {
  const node = el("i.pri", { "aria-hidden": "true" });
  setMark(node, priority, unacknowledged);
  return node;
}

/** Turns a mark into that of another priority or state. */
export function setMark(node, priority, unacknowledged) {
  attr(node, "data-p", priority);
  text(node, String(priority));
  node.classList.toggle("unack", unacknowledged);
}

// All marks blink together: each animation is put on the document's own beat.
document.addEventListener("animationstart", (event) => {
  if (event.animationName === "blink") for (const beat of event.target.getAnimations()) beat.startTime = 0;
});
