// The list of runs: search, sorting, and the choice of two to compare. The address keeps the search.

import { date, duration, get, h, put, runAddress, show, state } from "./dom.js";

const EVERY = 4000; // polling interval in ms
const ORDERS = {
  newest: ["newest first", (run) => -(run.date ?? 0)],
  oldest: ["oldest first", (run) => run.date ?? Infinity],
  metric: ["steering metric", (run) => -(run.metric ?? -Infinity)],
  held: ["confirmed", (run) => -(run.held ?? -Infinity)],
  cost: ["cost", (run) => -(run.dollars ?? 0)],
  time: ["wall time", (run) => -(run.seconds ?? 0)],
};
const TEXTS = ["name", "request", "task", "backend", "status", "status_text", "metric_name"];

export async function listPage() {
  const asked = new URLSearchParams(location.search);
  const chosen = new Set();
  let data = await get("/api/runs");

  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: "text, status, task, backend",
    value: asked.get("q") ?? "",
    "aria-label": "Search the runs",
    input: draw,
  });
  const order = h(
    "select",
    { id: "order", "aria-label": "Order", change: draw },
    Object.entries(ORDERS).map(([key, [text]]) =>
      h("option", { value: key, selected: asked.get("sort") === key }, text),
    ),
  );
  const compare = h("a", { class: "button", href: "/compare", "aria-disabled": "true" }, "Compare");
  const count = h("span", { class: "soft", role: "status" });
  const rows = h("tbody");
  const head = ["", "request", "steering", "confirmed", "result", "cost", "time", "status"];
  const table = h(
    "table",
    { class: "runs" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head.map((text) => h("th", { scope: "col" }, text)),
      ),
    ),
    rows,
  );

  show(
    "",
    [h("span", { class: "soft" }, data.folder)],
    h("h1", {}, "Runs"),
    h("div", { class: "bar" }, search, order, compare, data.acts ? h("a", { class: "button", href: "/start" }, "Start a run") : null, count),
    table,
  );
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
  });

  function draw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const key = order.value,
      by = ORDERS[key][1];
    const found = data.runs.filter((run) => {
      const text = TEXTS.map((name) => run[name] ?? "")
        .join(" ")
        .toLowerCase();
      return words.every((word) => text.includes(word));
    });
    found.sort((a, b) => {
      const x = by(a),
        y = by(b);
      return x === y ? (b.date ?? 0) - (a.date ?? 0) : x < y ? -1 : 1;
    });
    put(rows, ...found.map((run) => row(run, chosen, mark)));
    put(
      count,
      (found.length === data.runs.length ? "" : `${found.length} of `) +
        (data.runs.length === 1 ? "1 run" : `${data.runs.length} runs`),
    );
    if (!found.length)
      rows.append(
        h(
          "tr",
          {},
          h(
            "td",
            { colspan: head.length, class: "soft" },
            data.runs.length ? "No run matches." : "This folder has no runs yet.",
          ),
        ),
      );
    const query = new URLSearchParams(
      [
        ["q", search.value],
        ["sort", key === "newest" ? "" : key],
      ].filter(([, value]) => value),
    );
    history.replaceState(null, "", query.size ? `/?${query}` : "/");
    mark();
  }

  function mark() {
    const two = [...chosen];
    for (const box of rows.querySelectorAll("input")) box.disabled = !box.checked && two.length >= 2;
    compare.setAttribute("aria-disabled", String(two.length !== 2));
    put(compare, two.length === 2 ? "Compare the two" : "Tick two to compare");
    compare.setAttribute("href", two.length === 2 ? `/compare?${new URLSearchParams({ a: two[0], b: two[1] })}` : "#");
  }

  draw();
  setInterval(async () => {
    if (document.hidden) return;
    const fresh = await get("/api/runs").catch(() => null);
    state(fresh ? "" : "the server is gone", fresh ? "" : "alert");
    if (fresh && JSON.stringify(fresh) !== JSON.stringify(data)) {
      data = fresh;
      draw();
    }
  }, EVERY);
}

function row(run, chosen, mark) {
  const box = h("input", {
    type: "checkbox",
    "aria-label": `compare ${run.name}`,
    checked: chosen.has(run.name),
    change: (event) => {
      event.target.checked ? chosen.add(run.name) : chosen.delete(run.name);
      mark();
    },
  });
  const about = [
    run.task,
    run.is_llm === false ? `${run.backend}, no LLM` : run.backend,
    run.date && date(run.date).replaceAll(" ", "\u00a0"), // on one line
  ].filter(Boolean);
  const cell = (name, text, extra) => h("td", { class: `n ${extra ?? ""}`, "data-name": name }, text);
  return h(
    "tr",
    {},
    h("td", { class: "box" }, box),
    h(
      "td",
      { class: "what" },
      h("a", { href: runAddress(run.name) }, run.request || run.name),
      h("div", { class: "soft small" }, about.join(" · ")),
      h("div", { class: "soft small" }, h("code", {}, run.name)),
      (run.damage ?? []).length ? h("div", { class: "bad small" }, run.damage[0]) : null,
    ),
    cell("steering", run.metric_text ?? "–"),
    cell("confirmed", run.held_text ?? "–", "strong"),
    cell("result", run.result_text ?? "–"),
    cell("cost", run.dollars ? `$${run.dollars.toFixed(3)}` : "–"),
    cell("time", duration(run.seconds)),
    h("td", {}, h("span", { class: `chip ${run.status}`, title: run.status_text }, run.status)),
  );
}
