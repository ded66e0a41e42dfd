// What a person can do about a run, on its page: see what is left of its budget, answer, stop, resume, fork and ask.

import { date, get, h, post, put, runAddress } from "./dom.js";
import { act, area, choice, field, limits, select, text } from "./forms.js";

const CITED = /\[((?:#\d+(?:\s*[,;]\s*)?)+)\]/g;

export class Desk {
  constructor(name) {
    this.name = name;
    this.address = `/api${runAddress(name)}`;
    this.meters = h("div");
    this.question = h("div");
    this.deeds = h("div");
    this.asking = h("div");
    this.element = h("div", { class: "desk" }, this.meters, this.question, this.deeds);
    this.drawn = {};
  }

  // Look at the run again. Only what has changed is drawn: somebody may be typing.
  async look() {
    const now = await get(`${this.address}/desk`);
    if (!now.begun) return now;
    put(this.meters, meters(now));
    this.draw("question", this.question, now.asked && [now.asked, now.offer.acts], () => this.asked(now));
    this.draw("deeds", this.deeds, [now.can, now.steps, now.said, now.offer], () => this.done(now));
    this.draw("asking", this.asking, [now.can.includes("ask"), now.offer], () => this.asker(now));
    this.draw("answers", this.answers ?? h("div"), now.answers, () => now.answers.map(answer));
    return now;
  }

  draw(what, place, state, make) {
    const known = JSON.stringify(state ?? null);
    if (this.drawn[what] === known) return;
    this.drawn[what] = known;
    put(place, make());
  }

  async post(what, body) {
    const said = await post(`${this.address}/${what}`, body);
    await this.look();
    return said;
  }

  asked({ asked, offer }) {
    if (!asked) return [];
    const head = [h("h2", {}, "The run waits for your answer"), h("p", { class: "verdict" }, asked.text)];
    const shown = h("pre", { tabindex: "0" }, asked.shown);
    if (asked.given || !offer.acts)
      return h(
        "section",
        { class: "card waits" },
        head,
        shown,
        h("p", { class: "soft" }, asked.given ? "It was answered; the run goes on." : "This view is read-only."),
      );
    if (asked.job)
      head.push(
        h(
          "p",
          { class: "soft" },
          "This run began in a batch job. Answered here, it goes on on this machine; to go on as a job, answer by ",
          h("code", {}, "beamcrew approve"),
          " and submit it again: ",
          h("code", {}, asked.job),
        ),
      );
    const spend = asked.gate === "spend";
    const words = spend ? text({ inputmode: "decimal" }) : area({ rows: "2" });
    const say = (answer) => () => this.post("answer", { asked: asked.n, answer, words: answer === "yes" ? "" : words.value });
    const buttons = [act("Approve", say("yes"), "main"), act("Say", say("say")), act("Decline", say("no"), "grave")];
    if (!asked.words) buttons.splice(1, 1);
    const about = spend ? "or say how many dollars" : asked.words ? "what is to change, or why not" : "why not";
    return h(
      "section",
      { class: "card waits" },
      head,
      shown,
      field(about, words, asked.words ? null : "The built-in analyst reads no words."),
      h(
        "div",
        { class: "bar" },
        buttons.map((each) => each.button),
      ),
      buttons.map((each) => each.error),
    );
  }

  done({ can, steps, said, offer }) {
    const problem = said ? h("p", { class: "banner alert" }, `Its process said: ${said}`) : null;
    if (!offer.acts) return problem;
    const folds = [];
    if (can.includes("stop")) {
      const stop = act("Stop", () => this.post("stop", {}), "grave");
      folds.push(h("div", { class: "bar" }, stop.button, h("span", { class: "soft small" }, "It can be resumed."), stop.error));
    }
    if (can.includes("resume")) {
      const new_limits = limits();
      const resume = act("Resume", () => this.post("resume", { budget: new_limits.read() }), "main");
      folds.push(
        fold("Resume", "Nothing is paid twice. Limits, if you give any, replace all it had.", new_limits.element, resume),
      );
    }
    if (can.includes("fork")) {
      const step = select(steps.map((each) => [each, each, each === steps[steps.length - 1]]));
      const request = area({ rows: "2", placeholder: "as before" });
      const [chosen, new_limits] = [choice(offer, "as this run"), limits()];
      const fork = act(
        "Fork",
        async () => {
          const body = { step: step.value, choice: chosen.read(), budget: new_limits.read() };
          if (request.value.trim()) body.request = request.value.trim();
          location.assign(runAddress((await post(`${this.address}/fork`, body)).name));
        },
        "main",
      );
      const fields = [field("begins at", step), field("request from there on", request), chosen.element, new_limits.element];
      folds.push(fold("Fork", "A new run with the past of this one. What the past has cost counts.", fields, fork));
    }
    return [problem, folds];
  }

  asker({ can, offer }) {
    this.answers = h("div", { class: "answers" });
    delete this.drawn.answers;
    const list = [h("h2", { id: "questions" }, "Questions"), this.answers];
    if (!can.includes("ask") || !offer.acts) return list;
    const question = text({ placeholder: "why not wider?", "aria-label": "Ask about this run", maxlength: "4000" });
    const by = select([["analyst", "the record, by rules: free"], ...(offer.is_llm ? [["openai", offer.backend]] : [])], {
      "aria-label": "Who answers",
    });
    const most = limits({ tokens: 200000 });
    const more = h("div", { class: "away" }, most.element);
    by.addEventListener("change", () => more.classList.toggle("away", by.value === "analyst"));
    const ask = act(
      "Ask",
      async () => {
        const model = by.value !== "analyst";
        await this.post("ask", {
          question: question.value,
          choice: { backend: by.value },
          budget: (model && most.read()) || {},
        });
        question.value = "";
      },
      "main",
    );
    question.addEventListener("keydown", (event) => event.key === "Enter" && ask.button.click());
    return [list[0], h("div", { class: "bar ask" }, question, by, ask.button), more, ask.error, this.answers];
  }
}

const fold = (title, about, fields, deed) =>
  h(
    "details",
    { class: "fold deed" },
    h("summary", {}, h("span", { class: "title" }, title)),
    h("div", { class: "inside" }, h("p", { class: "soft" }, about), fields, h("div", { class: "bar" }, deed.button), deed.error),
  );

function meters({ meters: all, alive }) {
  const row = (meter) =>
    h(
      "div",
      { class: "meter" },
      h("span", { class: "soft" }, meter.name),
      h("strong", {}, meter.used),
      meter.limit ? h("progress", { max: "1", value: meter.share, "aria-label": `${meter.name} used` }) : null,
      meter.limit ? h("span", { class: "soft small" }, `${meter.left} left of ${meter.limit}`) : null,
    );
  return h("div", { class: `meters ${alive ? "live" : ""}`, role: "group", "aria-label": "spent and left" }, all.map(row));
}

// An answer's text, in which [#12] leads to event 12.
function answer(one) {
  const parts = [];
  let at = 0;
  for (const found of one.text.matchAll(CITED)) {
    parts.push(one.text.slice(at, found.index), "[");
    [...found[1].matchAll(/\d+/g)].forEach(([n], k) => parts.push(k ? ", " : "", h("a", { href: `#e${n}` }, `#${n}`)));
    parts.push("]");
    at = found.index + found[0].length;
  }
  parts.push(one.text.slice(at));
  const by = one.is_llm ? `${one.by}, $${one.dollars.toFixed(4)}` : "from the record, no LLM";
  return h(
    "article",
    { class: "card qa" },
    h("p", { class: "asks" }, one.question),
    h("p", { class: one.answered ? "said" : "said soft" }, parts),
    one.fork ? h("p", { class: "soft small" }, "This needs new work. In a fork: ", h("code", {}, one.fork)) : null,
    h("p", { class: "soft small" }, `${one.who}, ${date(one.when)} · ${by}`),
  );
}
