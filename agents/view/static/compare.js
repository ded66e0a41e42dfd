// Two runs side by side.

import { get, h, runAddress, show } from "./dom.js";
import { steering } from "./plot.js";

export async function comparePage(query) {
  const data = await get(`/api/compare?${new URLSearchParams({ a: query.get("a") ?? "", b: query.get("b") ?? "" })}`);
  const names = data.runs.map((run) => run.name);
  const plot = steering(data.steering, names);
  const swapped = new URLSearchParams({ a: names[1], b: names[0] });
  show(
    "Two runs",
    [
      h("a", { href: "/" }, "runs"),
      h("span", { class: "soft" }, "/"),
      "two side by side",
      h("a", { href: `/compare?${swapped}` }, "swap"),
    ],
    h("h1", {}, "Two runs side by side"),
    h("div", { class: "pair heads" }, data.runs.map(head)),
    plot ? h("section", { class: "card wide" }, h("h2", {}, "Steering"), plot) : null,
    h("h2", {}, "Numbers"),
    numbers(data.numbers, names),
    h("h2", {}, "Plans"),
    data.plans.length
      ? h(
          "div",
          {},
          data.plans.map((row) => plans(row, names)),
        )
      : h("p", { class: "soft" }, "Neither run has a plan."),
    h("h2", {}, "Code and inputs"),
    h("div", {}, data.code.length ? code(data.code, names) : h("p", { class: "soft" }, "No command had input files.")),
  );
}

const head = (run, k) =>
  h(
    "section",
    { class: "card" },
    h("p", { class: `key s${k}` }, h("a", { href: runAddress(run.name) }, run.name)),
    h("p", {}, run.request),
    h("p", {}, h("span", { class: `chip ${run.status}` }, run.status_text)),
  );

function numbers(rows, names) {
  const line = ([name, a, b]) =>
    h("tr", { class: a === b ? "same" : null }, h("th", { scope: "row" }, name), h("td", {}, a), h("td", {}, b));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "numbers" },
    h(
      "table",
      { class: "numbers" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", {}, ""),
          names.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h("tbody", {}, rows.map(line)),
    ),
  );
}

function plans(row, names) {
  return h(
    "div",
    {},
    h("h3", {}, `Iteration ${row.iteration}`),
    h(
      "div",
      { class: "pair" },
      row.plans.map((plan, k) =>
        h(
          "div",
          { class: "card" },
          plan
            ? [
                h("p", { class: "said" }, plan.reasoning),
                h(
                  "ol",
                  {},
                  plan.steps.map(([id, goal]) => h("li", {}, h("strong", {}, id), " ", goal)),
                ),
                h("p", {}, h("a", { href: `${runAddress(names[k])}#e${plan.n}` }, "in the timeline")),
              ]
            : h("p", { class: "soft" }, "no plan"),
        ),
      ),
    ),
  );
}

function code(list, names) {
  const same = list.filter((file) => file.same),
    other = list.filter((file) => !file.same);
  return [
    other.map((file) =>
      h(
        "details",
        { class: "fold", open: other.length < 4 },
        h("summary", {}, h("span", { class: "title" }, h("code", {}, file.path))),
        diff(file.rows, names),
      ),
    ),
    same.length
      ? h("p", { class: "soft" }, `${same.length} ${same.length === 1 ? "file is" : "files are"} the same in both.`)
      : null,
  ];
}

function diff(rows, names) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": "differences" },
    h(
      "table",
      { class: "diff" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          names.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([tag, a, b]) =>
          tag === "gap"
            ? h("tr", { class: "gap" }, h("td", { colspan: "2" }, "…"))
            : h("tr", { class: tag }, h("td", {}, h("pre", {}, a)), h("td", {}, h("pre", {}, b))),
        ),
      ),
    ),
  );
}
