// Which page an address is.

import { h, show, state } from "./dom.js";
import { comparePage } from "./compare.js";
import { listPage } from "./list.js";
import { runPage } from "./run.js";

// The token has become a cookie: the address can be shown, kept and handed on.
function withoutToken() {
  const query = new URLSearchParams(location.search);
  if (!query.has("token")) return;
  query.delete("token");
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
}

function open() {
  const parts = location.pathname.split("/").slice(1);
  if (parts[0] === "runs") return runPage(decodeURIComponent(parts[1]));
  return parts[0] === "compare" ? comparePage(new URLSearchParams(location.search)) : listPage();
}

withoutToken();
open().catch((error) => {
  state("");
  show(
    "",
    [],
    h("div", { class: "banner alert", role: "alert" }, h("strong", {}, "This cannot be shown. "), error.message),
    h("p", {}, h("a", { href: "/" }, "All runs")),
  );
});
