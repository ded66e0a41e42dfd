// Opens the page for the current address.

import { h, show, state } from "./dom.js";
import { comparePage } from "./compare.js";
import { listPage } from "./list.js";
import { runPage } from "./run.js";
import { startPage } from "./start.js";

// The cookie now has the token, so it is removed from the address, which may be shown, kept and shared.
function withoutToken() {
  const query = new URLSearchParams(location.search);
  if (!query.has("token")) return;
  query.delete("token");
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
}

function open() {
  const parts = location.pathname.split("/").slice(1);
  if (parts[0] === "runs") return runPage(decodeURIComponent(parts[1]));
  if (parts[0] === "start") return startPage();
  return parts[0] === "compare" ? comparePage(new URLSearchParams(location.search)) : listPage();
}

withoutToken();
open().catch((error) => {
  state("");
  show(
    "",
    [],
    h("div", { class: "banner alert", role: "alert" }, h("strong", {}, "This page cannot be shown. "), error.message),
    h("p", {}, h("a", { href: "/" }, "All runs")),
  );
});
