// The page on which a run is started: a request becomes a card, which is shown, and accepted before anything is spent.

import { get, h, post, put, runAddress, show } from "./dom.js";
import { act, area, choice, field, limits, select, text } from "./forms.js";

const MOMENT = 700; // ms between two looks at a run that begins

export async function startPage() {
  const offer = await get("/api/start");
  if (!offer.acts) throw new Error("This view is read-only.");
  const request = area({ maxlength: "20000", placeholder: "What is in these data, and how sure is it?" });
  const data = text({ placeholder: "/path/to/events.parquet" });
  const task = select([["", "auto: as the request says"], ...offer.tasks.map(([name, about]) => [name, `${name}: ${about}`])]);
  const place = h("div");
  const make = act("Show the card", () => card({}), "main");
  show(
    "start a run",
    [h("a", { href: "/" }, "runs"), h("span", { class: "soft" }, "/"), "start"],
    h("h1", {}, "Start a run"),
    h(
      "section",
      { class: "card form" },
      field("what do you want to know?", request),
      field("data", data, "file or folder on the machine of the server; a path from its folder, or from /"),
      field("task", task),
      h("div", { class: "bar" }, make.button, h("span", { class: "soft small" }, "Nothing is spent yet.")),
      make.error,
    ),
    place,
  );
  for (const input of [request, data, task]) input.addEventListener("input", () => put(place)); // the card is another one

  async function card(options) {
    const body = { request: request.value, data: data.value.trim() || null, task: task.value || null, options };
    const found = await post("/api/card", body);
    put(place, found.questions.length ? questions(found, options) : accept(found));
    place.scrollIntoView({ block: "nearest" });
  }

  function questions(found, known) {
    const inputs = found.questions.map((each) => [each, text({})]);
    const again = act(
      "Answer",
      () => card({ ...known, ...Object.fromEntries(inputs.map(([each, input]) => [each.about, typed(input.value)])) }),
      "main",
    );
    return h(
      "section",
      { class: "card form waits" },
      h("h2", {}, "Before that, this has to be known"),
      h("p", {}, `Understood as: ${found.about}`),
      inputs.map(([each, input]) => field(each.text, input, each.about)),
      h("div", { class: "bar" }, again.button),
      again.error,
    );
  }

  function accept(found) {
    const lines = found.card.trimEnd().split("\n").length;
    const text_of_card = area({ rows: String(Math.min(24, lines + 1)), spellcheck: "false", class: "code" }, found.card);
    const [chosen, budget] = [choice(offer), limits()];
    const gates = {
      plan: h("input", { type: "checkbox" }),
      unblind: h("input", { type: "checkbox" }),
    };
    const outside = offer.outside?.length
      ? h("p", { class: "soft" }, `The crew may use tools of these outside servers: ${offer.outside.join(", ")}.`)
      : null;
    const begin = act(
      "Accept the card and start",
      async () => {
        const approve = {};
        if (gates.plan.checked) approve.plan = "every";
        if (gates.unblind.checked) approve.unblind = true;
        const body = { card: text_of_card.value, choice: chosen.read() ?? {}, budget: budget.read() ?? {}, approve };
        await begun((await post("/api/runs", body)).name);
      },
      "main",
    );
    const tick = (box, label) => h("label", { class: "tick" }, box, " ", label);
    return h(
      "section",
      { class: "card form" },
      h("h2", {}, "The card"),
      h("p", {}, `Understood as: ${found.about}. Edit it if it is wrong.`),
      field("card, as YAML", text_of_card),
      chosen.element,
      outside,
      budget.element,
      h(
        "fieldset",
        {},
        h("legend", {}, "Ask me"),
        tick(gates.plan, "before each plan is carried out"),
        tick(gates.unblind, "before held-out inputs are opened"),
      ),
      h("div", { class: "bar" }, begin.button),
      begin.error,
    );
  }
}

// Numbers, lists and true are meant as such; everything else is text.
function typed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

// Wait until the run has a trace, then show it. A run that ends before has said why.
async function begun(name) {
  for (;;) {
    const now = await get(`/api${runAddress(name)}/desk`);
    if (now.begun) return location.assign(runAddress(name));
    if (!now.alive) throw new Error(now.said || "It ended before it began.");
    await new Promise((done) => setTimeout(done, MOMENT));
  }
}
