// Builds elements, and brings a live tree into the form of a fresh one.
//
// All text goes in as text nodes and attributes: what users write (names, causes) can never become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes that are null or false are left out; so are children that are. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  return element;
}

/**
 * Makes the children of `live` look like `fresh`, and keeps every element that can stay: so the focus, a selection, a
 * scrolled table and an opened fold outlive the second.
 */
export function show(live, ...fresh) {
  const wanted = fill(document.createDocumentFragment(), null, fresh);
  morphChildren(live, wanted);
}

function morphChildren(live, fresh) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, place) => {
    const old = live.childNodes[place];
    if (old === undefined) {
      live.append(node);
    } else if (sameKind(old, node)) {
      morph(old, node);
    } else {
      live.replaceChild(node, old);
    }
  });
  while (live.childNodes.length > wanted.length) {
    live.lastChild.remove();
  }
}

function sameKind(old, fresh) {
  return old.nodeName === fresh.nodeName
    && (old.nodeType !== Node.ELEMENT_NODE || old.getAttribute("data-key") === fresh.getAttribute("data-key"));
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
