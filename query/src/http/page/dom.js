// Builds elements, and brings a live tree into the form of a fresh one.
//
// All text goes in as text nodes and attributes: ids of ads and predicates can never become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes and children that are null or false are left out. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const isThere = (value) => value !== null && value !== undefined && value !== false;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (isThere(value)) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity).filter(isThere)) {
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Makes the children of `live` look like `fresh`, and keeps every element that can stay: focus and selection outlive it. */
export function show(live, ...fresh) {
  morphChildren(live, fill(document.createDocumentFragment(), null, fresh));
}

function morphChildren(live, fresh) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, place) => {
    const old = live.childNodes[place];
    if (old === undefined) live.append(node);
    else if (old.nodeName === node.nodeName) morph(old, node);
    else live.replaceChild(node, old);
  });
  while (live.childNodes.length > wanted.length) live.lastChild.remove();
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // Whether a fold is open is the reader's choice.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}
