// Elements from data. Text becomes text nodes only; addresses are ours; no attribute can contain a script.

const ALLOWED =
  /^(class|id|href|title|type|role|for|name|value|placeholder|src|alt|loading|scope|colspan|open|tabindex|checked|disabled|selected|download|rows|min|max|step|maxlength|autocomplete|spellcheck|inputmode|aria-[a-z]+|data-[a-z]+)$/;
const SVG_ALLOWED =
  /^(class|viewBox|role|aria-label|x|y|x1|y1|x2|y2|cx|cy|r|rx|width|height|d|points|transform|text-anchor|tabindex|preserveAspectRatio)$/;
const READ = /^(title|alt|aria-label)$/; // attributes that people see or hear
const OWN_ADDRESS = /^(#|\/(?!\/))/;
// Characters that are invisible or reverse the reading direction: shown as code points.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]+/gu;

export function visible(text) {
  return String(text).replace(HIDDEN, (run) => {
    const codes = Array.from(run, (c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
    return `⟨${codes.slice(0, 3).join(" ")}${codes.length > 3 ? ` and ${codes.length - 3} more` : ""}⟩`;
  });
}

function fill(element, attributes, children, allowed) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") {
      element.addEventListener(name, value);
      continue;
    }
    if (!allowed.test(name)) throw new Error(`attribute ${name}`);
    if ((name === "href" || name === "src") && !OWN_ADDRESS.test(value)) throw new Error(`address ${value}`);
    const text = value === true ? "" : String(value);
    element.setAttribute(name, READ.test(name) ? visible(text) : text);
  }
  return add(element, children);
}

function add(element, children) {
  for (const child of children.flat(2)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

// Replaces replaceChildren, which would not escape hidden characters.
export function put(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children, ALLOWED);

export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children, SVG_ALLOWED);

export const get = (address) => ask(address, { headers: { Accept: "application/json" } });

export const post = (address, body) =>
  ask(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

async function ask(address, options) {
  const reply = await fetch(address, options);
  const body = await reply.json().catch(() => ({}));
  if (reply.status === 403) throw new Error("The view was restarted: open the address that it printed.");
  if (!reply.ok) throw new Error(body.error ?? `the server answered with status ${reply.status}`);
  return body;
}

export function show(title, crumb, ...content) {
  document.title = visible(title ? `${title} · beamcrew` : "beamcrew");
  put(document.getElementById("crumb"), crumb);
  put(document.getElementById("main"), content);
}

export const state = (text, kind = "") => {
  const place = document.getElementById("state");
  if (place.textContent !== text) put(place, text);
  place.className = kind;
};

export const date = (seconds) =>
  new Date(1000 * seconds).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds),
    minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export function bytes(n) {
  if (n === null || n === undefined) return "missing";
  if (n < 1000) return `${n} B`;
  return n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
}

export const runAddress = (name) => `/runs/${encodeURIComponent(name)}`;
