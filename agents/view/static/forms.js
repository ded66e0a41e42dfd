// Parts of forms: labelled fields, limits, and a button that waits for the server and shows what it refuses.

import { h, put } from "./dom.js";

let made = 0;

// A field with its label; `about` is a line below it.
export function field(label, input, about) {
  input.id ||= `field-${made++}`;
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    input,
    about ? h("p", { class: "soft small" }, about) : null,
  );
}

export const text = (attributes) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });

export const area = (attributes, content) => h("textarea", { rows: "4", ...attributes }, content ?? "");

export const select = (options, attributes) =>
  h(
    "select",
    attributes ?? {},
    options.map(([value, label, chosen]) => h("option", { value, selected: chosen }, label)),
  );

const number = (attributes) => h("input", { type: "number", min: "0", step: "any", inputmode: "decimal", ...attributes });

// Three limits. `read` returns those that were given, as fields of a budget; null without any.
export function limits(defaults = {}) {
  const inputs = {
    dollars: number({ placeholder: "no limit", value: defaults.dollars }),
    tokens: number({ placeholder: "no limit", step: "1", value: defaults.tokens }),
    minutes: number({ placeholder: "no limit", value: defaults.minutes }),
  };
  const element = h(
    "div",
    { class: "limits" },
    Object.entries(inputs).map(([name, input]) => field(`at most, in ${name}`, input)),
  );
  const read = () => {
    const given = Object.fromEntries(
      Object.entries(inputs)
        .filter(([, input]) => input.value !== "")
        .map(([name, input]) => (name === "minutes" ? ["seconds", 60 * Number(input.value)] : [name, Number(input.value)])),
    );
    return Object.keys(given).length ? given : null;
  };
  return { element, read };
}

// The backend: rules, or the service of the server with a model. `read` returns null for that of the run.
export function choice(offer, own) {
  const service = offer.is_llm ? [["openai", offer.backend]] : [];
  const backend = select([
    ...(own ? [["", own]] : []),
    ...service,
    ["analyst", "built-in analyst: rules, no model, no cost"],
  ]);
  const model = text({ placeholder: offer.is_llm ? offer.backend.replace(/^openai:/, "") : "" });
  const price = text({ placeholder: "dollars per million tokens: IN,OUT" });
  const more = h("div", { class: "pairs" }, field("another model", model), field("its price", price));
  const show = () => more.classList.toggle("away", backend.value !== "openai");
  backend.addEventListener("change", show);
  show();
  const element = h(
    "div",
    {},
    field("who does the work", backend, offer.is_llm ? null : offer.why || "Keys are those of the server: start it with one to choose a model."),
    more,
  );
  const read = () => {
    if (!backend.value) return null;
    if (backend.value !== "openai") return { backend: backend.value };
    const given = { backend: "openai" };
    if (model.value.trim()) given.model = model.value.trim();
    if (price.value.trim()) given.price = price.value.trim();
    return given;
  };
  return { element, read };
}

// A button that does something with the server. While it waits, it cannot be pressed; an error becomes a line.
export function act(label, work, kind = "") {
  const error = h("p", { class: "bad error", role: "alert" });
  const button = h("button", { type: "button", class: `button ${kind}` }, label);
  button.addEventListener("click", async () => {
    if (button.disabled) return;
    button.disabled = true;
    put(error);
    try {
      await work();
    } catch (problem) {
      put(error, problem.message);
    }
    button.disabled = false;
  });
  return { button, error };
}
