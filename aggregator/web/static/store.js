// A store's page: its body is asked for again every 3 s, its curves every 10 s.
import { $, swap, fragment } from "./base.js";
import { keep } from "./live.js";
import { follow } from "./chart.js";
const id = encodeURIComponent($("main").dataset.store), charts = [...document.querySelectorAll(".chart")], ranges = [...document.querySelectorAll("[data-range]")];
let range = new URLSearchParams(location.search).get("range") === "day" ? "day" : "hour";
keep({
  every: 3000, patience: 8000,
  busy: () => $("body").contains(document.activeElement) || !getSelection().isCollapsed,
  load: async (signal) => swap($("body"), await fragment(`/ui/stores/${id}/body`, signal)),
});
const lines = follow(charts, () => `/ui/stores/${id}/history?range=${range}`, 10000, $("nohist"));
function pick(r) { range = r; ranges.forEach((b) => b.setAttribute("aria-pressed", b.dataset.range === r)); history.replaceState(null, "", r === "day" ? "?range=day" : location.pathname); lines(); }
ranges.forEach((b) => b.addEventListener("click", () => pick(b.dataset.range)));
if (range === "day") pick("day");
