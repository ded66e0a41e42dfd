// The page of one run: its result and its timeline, updated while the run is in progress.

import { facts, render, table } from "./blocks.js";
import { Desk } from "./desk.js";
import { date, get, h, put, runAddress, show, state } from "./dom.js";
import { lanes, steering } from "./plot.js";
import { Timeline } from "./timeline.js";

const EVERY = 1500,
  SLOW = 10000,
  QUIET = 600; // polling intervals in ms; seconds without news before polling slows down
const HITS = 40;

export async function runPage(name) {
  const address = `/api${runAddress(name)}`;
  let data = await get(`${address}?after=0`);
  const timeline = new Timeline(name),
    desk = new Desk(name);
  const top = h("div"),
    head = h("div"),
    rest = h("div"),
    work = h("div");
  const hits = h("ul", { class: "hits" });
  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: "find in this run",
    "aria-label": "Find events of this run",
    input: find,
  });
  show(
    data.overview.card.request || name,
    [h("a", { href: "/" }, "runs"), h("span", { class: "soft" }, "/"), h("code", {}, name)],
    top,
    desk.element,
    head,
    desk.asking,
    rest,
    h("h2", { id: "timeline" }, "What the crew did"),
    work,
    h("div", { class: "bar" }, search),
    hits,
    timeline.element,
  );
  addEventListener("hashchange", reveal);
  addEventListener("keydown", keys);
  take();
  await desk.look();
  reveal();
  setTimeout(look, EVERY);

  function take() {
    if (!data.overview) return;
    put(top, ...topOf(data.overview, name));
    put(head, ...headOf(data.overview, name));
    put(rest, ...restOf(data.overview, name));
    timeline.add(data.rows);
    const end = Math.max(0, ...[...timeline.rows.values()].slice(-1).map((row) => row.at));
    put(work, ...[lanes(timeline.spans(), end)].filter(Boolean));
    const status = data.overview.card.status;
    if (status === "waiting") state("waits for an answer");
    else state(status === "unfinished" ? `last event ${date(data.overview.card.last)}` : "", status === "unfinished" ? "live" : "");
  }

  async function look() {
    if (!document.hidden) {
      try {
        const known = data.total ?? 0,
          fresh = await get(`${address}?after=${known}&stamp=${data.stamp}`);
        if ((fresh.total ?? known) < known) return location.reload(); // lines were removed from the trace
        if (fresh.overview) {
          data = fresh;
          take();
          reveal.waiting && reveal();
        }
        await desk.look();
      } catch (error) {
        state(error.message.includes("fetch") ? "the server is gone" : error.message, "alert");
      }
    }
    const quiet = Date.now() / 1000 - (data.overview?.card.last ?? 0) > QUIET;
    setTimeout(look, quiet ? SLOW : EVERY);
  }

  function reveal() {
    const wanted = /^#e(\d+)$/.exec(location.hash);
    reveal.waiting = wanted && !timeline.reveal(Number(wanted[1]));
  }

  function find() {
    const found = timeline.find(search.value);
    put(
      hits,
      ...found
        .slice(0, HITS)
        .map((row) =>
          h(
            "li",
            {},
            h("a", { href: `#e${row.n}` }, `e${row.n}`),
            " ",
            row.step ? h("code", {}, `${row.section}/${row.step}`) : null,
            " ",
            row.title,
          ),
        ),
      search.value.trim()
        ? h("li", { class: "soft" }, found.length > HITS ? `and ${found.length - HITS} more` : `${found.length} events`)
        : "",
    );
  }

  function keys(event) {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
    if (event.key !== "j" && event.key !== "k") return;
    const all = [...timeline.element.querySelectorAll("summary")].filter((one) => one.checkVisibility());
    const at = all.indexOf(document.activeElement);
    const next = all[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }
}

function topOf(view, name) {
  const card = view.card;
  const damage = card.damage.length
    ? h(
        "div",
        { class: "banner alert", role: "alert" },
        h("strong", {}, "The trace is damaged. "),
        "Its readable part is shown.",
        h(
          "ul",
          {},
          card.damage.map((text) => h("li", {}, text)),
        ),
      )
    : null;
  if (!view.facts) return [h("h1", {}, name), damage].filter(Boolean);
  return [
    h("p", { class: "eyebrow" }, card.task),
    h("h1", {}, card.request),
    h(
      "p",
      { class: "meta" },
      h("span", { class: `chip ${card.status}` }, card.status_text),
      h("span", {}, date(card.date)),
      h("span", {}, card.backend),
      h("a", { href: "#timeline" }, "what the crew did"),
    ),
    damage,
    card.is_llm
      ? null
      : h(
          "p",
          { class: "banner" },
          h("strong", {}, `No LLM was involved: built-in ${card.backend}. `),
          "Plans and code come from fixed rules.",
        ),
    ["converged", "exhausted", "waiting"].includes(card.status) ? null : h("p", { class: "banner" }, view.reason),
  ].filter(Boolean);
}

function headOf(view, name) {
  if (!view.facts) return [];
  const plot = steering([view.steering]);
  return [
    h(
      "div",
      { class: "columns" },
      h("section", { class: "card" }, h("h2", {}, "Answer"), answer(view, name)),
      plot ? h("section", { class: "card" }, h("h2", {}, view.steering.metric), plot) : null,
      view.confirmed ? heldOut(view.confirmed) : null,
      h("section", { class: "card" }, h("h2", {}, "Cost and sandbox"), facts(view.facts)),
    ),
    view.troubles.length
      ? h(
          "details",
          { class: "fold", open: view.troubles.length < 6 },
          h(
            "summary",
            {},
            h(
              "span",
              { class: "title bad" },
              view.troubles.length === 1 ? "1 trouble" : `${view.troubles.length} troubles`,
            ),
          ),
          h(
            "ul",
            { class: "inside" },
            view.troubles.map(([n, who, where, text]) =>
              h("li", {}, h("a", { href: `#e${n}` }, `e${n}`), " ", h("code", {}, where), ` (for the ${who}) ${text}`),
            ),
          ),
        )
      : null,
  ].filter(Boolean);
}

function answer(view, name) {
  if (!view.claim) return h("p", { class: "soft" }, "There is no answer yet.");
  return [
    h("p", { class: "verdict" }, view.claim.verdict),
    h("p", { class: "said" }, view.claim.text),
    ...render(view.answer, name),
  ];
}

const heldOut = (held) =>
  h(
    "section",
    { class: "card" },
    h("h2", {}, held.title),
    h("p", { class: `verdict ${held.ok ? "" : "bad"}` }, held.value),
    h(
      "p",
      { class: "soft" },
      `${held.basis} ${held.reason} `,
      h("a", { href: `#e${held.n}` }, `e${held.n}`),
    ),
    facts(held.facts),
  );

function restOf(view, name) {
  if (!view.facts) return [];
  const part = (title, ...content) => [h("h2", {}, title), ...content];
  return [
    ...(view.confirmed?.blocks.length ? part(view.confirmed.title, ...render(view.confirmed.blocks, name)) : []),
    ...(view.iterations ? part("Iterations", table(view.iterations)) : []),
    ...(view.best.length ? part("The best iteration", ...render(view.best, name)) : []),
    ...(view.checks ? part("Claimed and checked", table(view.checks)) : []),
    ...(view.sealed
      ? part(
          "Sealed metrics",
          h("p", { class: "soft" }, "Computed once, after the end, from labels that no agent and no sandbox ever saw."),
          table(view.sealed),
          ...render(view.sealed.blocks, name),
        )
      : []),
    h(
      "details",
      { class: "fold" },
      h("summary", {}, h("span", { class: "title" }, "Task options")),
      h("div", { class: "inside" }, ...render([view.options], name)),
    ),
  ];
}
