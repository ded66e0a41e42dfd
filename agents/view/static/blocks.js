// Rendering of an event's blocks, which come from the server as data.

import { bytes, h, runAddress } from "./dom.js";

const SHA = /^[0-9a-f]{64}$/;

export function blobAddress(run, sha) {
  if (!SHA.test(sha)) throw new Error("not the name of a blob");
  return `${runAddress(run)}/blobs/${sha}`;
}

export const whole = (run, sha) =>
  sha ? h("a", { class: "whole", href: blobAddress(run, sha) }, "show all") : null;

const plotAddress = (block, run) =>
  `${runAddress(run)}${block.n == null ? "" : `/events/${Number(block.n)}`}/plots/${encodeURIComponent(block.name)}.png`;

const label = (block, run) =>
  block.label || block.sha ? h("p", { class: "label" }, block.label, " ", run && whole(run, block.sha)) : null;

const KINDS = {
  text: (block, run) => [label(block, run), h("p", { class: "said" }, block.text)],
  code: (block, run) => [label(block, run), h("pre", { tabindex: "0" }, block.text)],
  note: (block) => [label(block), h("p", { class: "bad" }, block.text)],
  facts: (block) => [label(block), facts(block.rows)],
  table: (block) => [label(block), table(block), block.note ? h("p", { class: "soft" }, block.note) : null],
  messages: (block, run) => [label(block, run), messages(block.messages)],
  figure: (block, run) => [figure(block, run)],
  plot: (block, run) => [
    h(
      "figure",
      { class: "drawn" },
      picture(plotAddress(block, run), block.label),
      h("figcaption", {}, block.label),
    ),
  ],
  files: (block, run) => [
    label(block),
    h(
      "ul",
      { class: "files" },
      block.files.map((file) =>
        h(
          "li",
          {},
          h("a", { href: blobAddress(run, file.sha) }, h("code", {}, file.path)),
          " ",
          h("span", { class: "soft small" }, bytes(file.size), " · ", file.sha.slice(0, 12)),
        ),
      ),
    ),
  ],
};

export const render = (blocks, run) => blocks.flatMap((block) => KINDS[block.type](block, run)).filter(Boolean);

export const facts = (rows) =>
  h(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );

export function table(block) {
  const numeric = (text) => /^[–\d<-]/.test(text) && text.length < 28;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": block.label || "table" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          block.head.map((text) => h("th", { scope: "col" }, text)),
        ),
      ),
      h(
        "tbody",
        {},
        block.rows.map((row, k) =>
          h(
            "tr",
            { class: k === block.mark ? "best" : null },
            row.map((text) =>
              h(
                "td",
                {
                  class:
                    text === "differs" || text === "refused"
                      ? "bad"
                      : text === "agrees"
                        ? "good"
                        : numeric(text)
                          ? "n"
                          : null,
                },
                text,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function figure(block, run) {
  const address = blobAddress(run, block.sha);
  return h(
    "figure",
    {},
    h("a", { href: address }, picture(address, block.label)),
    h("figcaption", {}, h("code", {}, block.label)),
  );
}

function picture(address, alt) {
  const broken = (event) =>
    event.target.replaceWith(h("p", { class: "bad" }, "This picture cannot be shown."));
  return h("img", { src: address, alt, loading: "lazy", error: broken });
}

function messages(list) {
  // Every call repeats the whole conversation: earlier messages are folded.
  const earlier = list.length > 3 ? list.slice(0, -2) : [];
  const recent = list.slice(earlier.length);
  return h(
    "div",
    { class: "messages" },
    earlier.length
      ? h("details", {}, h("summary", {}, `${earlier.length} earlier messages`), earlier.map(message))
      : null,
    recent.map(message),
  );
}

const message = (one) =>
  h(
    "div",
    { class: `message ${["system", "user", "assistant", "tool"].includes(one.role) ? one.role : ""}` },
    h("p", { class: "label" }, one.role),
    one.text ? h("pre", { tabindex: "0" }, one.text) : null,
    one.calls.map((call) => [
      h("p", { class: "label" }, "calls ", h("code", {}, call.name)),
      h("pre", { tabindex: "0" }, call.text),
    ]),
  );
