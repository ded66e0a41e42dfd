// The timeline of a run: sections, steps, events. A step's events are created, and an event's content is fetched, only
// when it is opened, so that runs with thousands of events stay fast.

import { render } from "./blocks.js";
import { duration, get, h, put, runAddress } from "./dom.js";

const SECTIONS = { start: "Before the first plan", end: "Claim and end" };
const GLYPHS = {
  model_called: "◇",
  executed: "▸",
  tool_called: "⚙",
  outside_called: "↗",
  planned: "☰",
  step_started: "·",
  step_finished: "✓",
  graded: "★",
  decided: "→",
  confirmed: "◎",
  claimed: "❞",
  sealed: "◆",
  trouble: "!",
  canary_checked: "◈",
  run_started: "●",
  run_resumed: "↻",
  sandbox_renewed: "↻",
  run_finished: "■",
};

export class Timeline {
  constructor(run) {
    this.run = run;
    this.element = h("div", { class: "timeline" });
    this.sections = new Map();
    this.cards = new Map(); // by section and step
    this.rows = new Map(); // by event
  }

  add(rows) {
    for (const row of rows) {
      this.rows.set(row.n, row);
      const section = this.section(row.section);
      if (row.step) this.card(row.section, row.step).add(row);
      else section.append(this.event(row));
      for (const step of row.steps ?? []) this.card(row.section, step.id).plan(step);
    }
  }

  section(key) {
    if (!this.sections.has(key)) {
      const title = SECTIONS[key] ?? `Iteration ${key}`,
        id = `section-${this.sections.size}`;
      const element = h("section", { "aria-labelledby": id }, h("h3", { id }, title));
      this.sections.set(key, element);
      this.element.append(element);
    }
    return this.sections.get(key);
  }

  card(section, step) {
    const key = `${section}/${step}`;
    if (!this.cards.has(key)) {
      const card = new Card(this, step, section);
      this.cards.set(key, card);
      this.section(section).append(card.element);
    }
    return this.cards.get(key);
  }

  event(row) {
    const body = h("div", { class: "inside" });
    let asked = false;
    const fetchBody = async () => {
      if (asked) return;
      asked = true;
      put(body, h("p", { class: "soft" }, "…"));
      try {
        const event = await get(`/api${runAddress(this.run)}/events/${row.n}`);
        put(body, ...render(event.blocks, this.run));
      } catch (error) {
        asked = false;
        put(body, h("p", { class: "bad" }, error.message));
      }
    };
    const tokens = row.tokens ? `${row.tokens.toLocaleString()} tokens` : "";
    const meta = [
      tokens,
      row.dollars ? `$${row.dollars.toFixed(4)}` : "",
      row.seconds !== null && row.seconds !== undefined ? duration(row.seconds) : "",
    ]
      .filter(Boolean)
      .join(" · ");
    const shade = row.ok === false ? "wrong" : row.kind in { graded: 1, confirmed: 1, claimed: 1 } ? "weighty" : "";
    const long = row.kind === "planned" || row.kind === "step_finished";
    return h(
      "details",
      { class: `event ${row.kind} ${shade}`, id: `e${row.n}`, toggle: (event) => event.target.open && fetchBody() },
      h(
        "summary",
        {},
        h("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[row.kind] ?? "·"),
        h(
          "span",
          { class: "title" },
          row.title,
          row.note ? h("span", { class: long ? "note long" : "note" }, row.note) : null,
        ),
        h("span", { class: "meta" }, meta),
        h("a", { class: "number", href: `#e${row.n}`, title: `${duration(row.at)} after the start` }, `e${row.n}`),
      ),
      body,
    );
  }

  // Open an event, even inside a folded step, and scroll to it. Returns false if there is no such event (yet).
  reveal(n) {
    const row = this.rows.get(n);
    if (!row) return false;
    if (row.step) this.card(row.section, row.step).open();
    const element = document.getElementById(`e${n}`);
    element.open = true;
    for (const other of this.element.querySelectorAll(".target")) other.classList.remove("target");
    element.classList.add("target");
    element.scrollIntoView({ block: "center" });
    element.firstElementChild.focus({ preventScroll: true });
    return true;
  }

  find(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return [...this.rows.values()].filter((row) => {
      const all = `e${row.n} ${row.kind} ${row.section} ${row.step ?? ""} ${row.title} ${row.note}`.toLowerCase();
      return words.every((word) => all.includes(word));
    });
  }

  // Time spans of the steps, and of the claim's commands, which belong to no step, for the plot of lanes.
  spans() {
    const steps = [...this.cards.values()]
      .filter((card) => card.from !== null)
      .map((card) => ({
        name: `${card.section} / ${card.name}`,
        from: card.from,
        to: card.to,
        ok: card.ok,
        kind: `i${Number(card.section) % 4 || 0}`,
      }));
    const claim = [...this.rows.values()]
      .filter((row) => (row.kind === "executed" || row.kind === "tool_called") && row.section === "end")
      .map((row) => ({
        name: `claim / ${row.title}`,
        from: Math.max(0, row.at - row.seconds),
        to: row.at,
        ok: row.ok,
        kind: "claim",
      }));
    return [...steps, ...claim];
  }
}

class Card {
  constructor(timeline, name, section) {
    Object.assign(this, { timeline, name, section, waiting: [], from: null, to: null, ok: null });
    this.chip = h("span", { class: "chip" }, "waiting");
    this.goal = h("span", { class: "note" });
    this.result = h("span", { class: "note result" });
    this.meta = h("span", { class: "meta" });
    this.body = h("div", { class: "inside events" });
    this.element = h(
      "details",
      { class: "step", toggle: () => this.element.open && this.fill() },
      h(
        "summary",
        {},
        h("span", { class: "title" }, h("strong", {}, name), " ", this.chip, this.goal, this.result),
        this.meta,
      ),
      this.body,
    );
  }

  plan(step) {
    const about = [
      step.depends_on.length ? `after ${step.depends_on.join(", ")}` : "",
      step.submits ? "submits" : "",
    ].filter(Boolean);
    put(
      this.goal,
      h("span", {}, step.goal),
      about.length ? h("span", { class: "soft" }, ` (${about.join("; ")})`) : "",
    );
  }

  add(row) {
    this.from ??= row.kind === "step_started" ? row.at : Math.max(0, row.at - (row.seconds ?? 0));
    this.count = (this.count ?? 0) + 1;
    if (row.kind === "step_finished") {
      [this.to, this.ok] = [row.at, row.ok];
      put(this.result, row.note);
    }
    const text = this.ok === null ? "running" : this.ok ? "done" : "failed";
    this.chip.className = `chip ${this.ok === null ? "unfinished" : this.ok ? "converged" : "failed"}`;
    put(this.chip, text);
    put(
      this.meta,
      [`${this.count} events`, this.to === null ? "" : duration(this.to - this.from)].filter(Boolean).join(" · "),
    );
    this.waiting.push(row);
    if (this.element.open) this.fill();
  }

  fill() {
    this.body.append(...this.waiting.splice(0).map((row) => this.timeline.event(row)));
  }

  open() {
    this.element.open = true;
    this.fill();
  }
}
