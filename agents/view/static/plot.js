// Small plots as inline SVG: the steering metric with its errors, and the time span of each step.

import { duration, h, svg } from "./dom.js";

const W = 520,
  H = 220,
  LEFT = 46,
  RIGHT = 12,
  TOP = 14,
  BOTTOM = 34;

function ticks(low, high, about) {
  const raw = (high - low) / about,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw);
  const list = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) list.push(Number((k * step).toPrecision(12)));
  return list;
}

// `series`: results of `steering_of`, one per run.
export function steering(series, names = []) {
  const drawn = series.filter((one) => one && one.points.length);
  const points = drawn.flatMap((one) => one.points),
    good = points.filter((p) => p.y !== null);
  if (!good.length) return null;
  let low = Math.min(...good.map((p) => p.y - p.error)),
    high = Math.max(...good.map((p) => p.y + p.error));
  const room = 0.12 * (high - low || Math.abs(high) || 1);
  [low, high] = [low - room, high + room];
  const last = Math.max(...points.map((p) => p.x)),
    x = (k) => LEFT + ((k + 0.5) / (last + 1)) * (W - LEFT - RIGHT);
  const y = (v) => TOP + ((high - v) / (high - low)) * (H - TOP - BOTTOM);
  const words = drawn
    .map((one) =>
      one.points
        .map(
          (p) => `iteration ${p.x}: ${p.y === null ? "refused" : `${p.y.toPrecision(4)} ± ${p.error.toPrecision(2)}`}`,
        )
        .join("; "),
    )
    .join(". ");
  return h(
    "figure",
    { class: "plot" },
    svg(
      "svg",
      { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${drawn[0].metric} by iteration. ${words}` },
      ticks(low, high, 4).map((v) => [
        svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }),
        svg("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, String(v)),
      ]),
      Array.from({ length: last + 1 }, (_, k) => k)
        .filter((k) => last < 12 || k % Math.ceil(last / 10) === 0)
        .map((k) => svg("text", { x: x(k), y: H - 14, "text-anchor": "middle" }, String(k))),
      svg("text", { class: "axis", x: W - RIGHT, y: H - 1, "text-anchor": "end" }, "iteration"),
      drawn.map((one, k) => line(one, k, (v) => x(v) + (drawn.length > 1 ? 8 * k - 4 : 0), y)),
    ),
    h(
      "figcaption",
      {},
      names.map((name, k) => h("span", { class: `key s${k}` }, name)),
      h("span", { class: "key best" }, "best"),
      points.some((p) => p.y === null) ? h("span", { class: "soft" }, "× refused") : null,
    ),
  );
}

function line(one, k, x, y) {
  const good = one.points.filter((p) => p.y !== null);
  return svg(
    "g",
    { class: `series s${k}` },
    svg("polyline", { points: good.map((p) => `${x(p.x)},${y(p.y)}`).join(" ") }),
    good.map((p) => [
      svg("line", { x1: x(p.x), x2: x(p.x), y1: y(p.y - p.error), y2: y(p.y + p.error) }),
      svg(
        "circle",
        { class: p.x === one.best ? "best" : null, cx: x(p.x), cy: y(p.y), r: p.x === one.best ? 6 : 4 },
        svg("title", {}, `iteration ${p.x}: ${p.y.toPrecision(4)} ± ${p.error.toPrecision(2)}`),
      ),
    ]),
    one.points
      .filter((p) => p.y === null)
      .map((p) => svg("text", { class: "refused", x: x(p.x), y: H - BOTTOM - 4, "text-anchor": "middle" }, "×")),
  );
}

const LANE = 13,
  SHOWN = 60; // height of a lane, and the maximum number of lanes

// The time spans of steps: `steps` have name, from, to (null while running) and ok.
export function lanes(steps, end) {
  if (!steps.length || !end) return null;
  const free = [],
    x = (t) => (1000 * t) / end;
  const bars = steps
    .slice(-SHOWN * 5)
    .map((step) => {
      const to = step.to ?? end;
      let lane = free.findIndex((until) => until <= step.from + 1e-6);
      if (lane < 0) lane = free.push(0) - 1;
      free[lane] = to;
      return { ...step, to, lane };
    })
    .filter((bar) => bar.lane < SHOWN);
  const height = LANE * Math.min(free.length, SHOWN);
  return h(
    "figure",
    { class: "lanes" },
    svg(
      "svg",
      {
        viewBox: `0 0 1000 ${height}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `${steps.length} steps over ${duration(end)}`,
      },
      bars.map((bar) =>
        svg(
          "rect",
          {
            class: bar.ok === null ? "runs" : bar.ok ? bar.kind : "no",
            x: x(bar.from),
            y: LANE * bar.lane + 1,
            width: Math.max(1.5, x(bar.to - bar.from) - 1),
            height: LANE - 3,
            rx: 1.5,
          },
          svg("title", {}, `${bar.name}: ${duration(bar.to - bar.from)}`),
        ),
      ),
    ),
    h(
      "figcaption",
      {},
      h("span", {}, "0"),
      bars.some((bar) => bar.kind === "claim") && h("span", { class: "key claim" }, "repeated for the claim"),
      h("span", {}, duration(end)),
    ),
  );
}
