// A store's page: its body is asked for again every 3 s, its curves every 10 s.
import { $, set, ago, onTheme, fragment } from "./base.js";
import { curve } from "./chart.js";
const id = encodeURIComponent($("main").dataset.store), charts = [...document.querySelectorAll(".chart")], ranges = [...document.querySelectorAll("[data-range]")];
let last = performance.now(), range = new URLSearchParams(location.search).get("range") === "day" ? "day" : "hour", kept;
function stale() {
  const q = (performance.now() - last) / 1000, lost = q > 8, e = $("live");
  e.classList.toggle("lost", lost); e.classList.toggle("on", !lost);
  set("live", lost ? `no data for ${ago(q)}` : "live"); document.body.classList.toggle("stale", lost);
}
const busy = () => document.hidden || $("body").contains(document.activeElement) || !getSelection().isCollapsed;
async function body() {
  if (busy()) { const r = await fetch("/ui/bands", { method: "HEAD" }).catch(() => 0); if (r.ok) last = performance.now(); return stale(); }
  try {
    const f = await fragment(`/ui/stores/${id}/body`), open = [...$("body").querySelectorAll("details")].map((d) => d.open);
    f.querySelectorAll("details").forEach((d, i) => { d.open = open[i] ?? false; });
    $("body").replaceChildren(f); last = performance.now();
  } catch { /* stale() says so */ }
  stale();
}
async function lines(again = true) {
  if (document.hidden) return;
  try { if (again || !kept) kept = await (await fetch(`/ui/stores/${id}/history?range=${range}`)).json(); } catch { return; }
  $("nohist").hidden = kept.t.length > 1;
  if (kept.t.length > 1) for (const c of charts) await curve(c, kept, c.dataset.series);
}
function pick(r) { range = r; ranges.forEach((b) => b.setAttribute("aria-pressed", b.dataset.range === r)); history.replaceState(null, "", r === "day" ? "?range=day" : location.pathname); lines(); }
ranges.forEach((b) => b.addEventListener("click", () => pick(b.dataset.range)));
if (range === "day") pick("day"); else document.fonts.ready.then(() => lines());
stale();
setInterval(body, 3000); setInterval(lines, 10000); setInterval(stale, 1000);
onTheme(() => lines(false)); addEventListener("resize", () => lines(false));
