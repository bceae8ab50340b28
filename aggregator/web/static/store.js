// A store's page: its body is asked for again every 3 s, its curves every 10 s.
import { $, onTheme, swap, fragment } from "./base.js";
import { keep } from "./live.js";
import { curve } from "./chart.js";
const id = encodeURIComponent($("main").dataset.store), charts = [...document.querySelectorAll(".chart")], ranges = [...document.querySelectorAll("[data-range]")];
let range = new URLSearchParams(location.search).get("range") === "day" ? "day" : "hour", kept;
keep({
  every: 3000, patience: 8000,
  busy: () => $("body").contains(document.activeElement) || !getSelection().isCollapsed,
  load: async (signal) => swap($("body"), await fragment(`/ui/stores/${id}/body`, signal)),
});
async function lines(again = true) {
  if (document.hidden) return;
  try { if (again || !kept) kept = await (await fetch(`/ui/stores/${id}/history?range=${range}`)).json(); } catch { return; }
  $("nohist").hidden = kept.t.length > 1;
  if (kept.t.length > 1) for (const c of charts) await curve(c, kept, c.dataset.series);
}
function pick(r) { range = r; ranges.forEach((b) => b.setAttribute("aria-pressed", b.dataset.range === r)); history.replaceState(null, "", r === "day" ? "?range=day" : location.pathname); lines(); }
ranges.forEach((b) => b.addEventListener("click", () => pick(b.dataset.range)));
if (range === "day") pick("day"); else document.fonts.ready.then(() => lines());
setInterval(lines, 10000);
onTheme(() => lines(false)); addEventListener("resize", () => lines(false));
