// Availability: suggestions while typing, and explanations that unfold in place.
import { $, fragment, toast } from "./base.js";
let timer;
$("sku").addEventListener("input", (e) => {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const r = await fetch("/ui/availability/skus?q=" + encodeURIComponent(e.target.value.trim())).catch(() => 0); if (!r.ok) return;
    $("skus").replaceChildren(...(await r.json()).map((s) => Object.assign(document.createElement("option"), { value: s })));
  }, 150);
});
const table = $("locations"), url = new URL(location.href);
function fold() { $("explain")?.remove(); const a = table.querySelector("[aria-expanded=true]"); a?.setAttribute("aria-expanded", "false"); a?.closest("tr").classList.remove("sel"); }
async function unfold(a) {
  const open = a.getAttribute("aria-expanded") === "true"; fold();
  if (open) { for (const k of ["location", "at", "known"]) url.searchParams.delete(k); url.hash = ""; history.replaceState(null, "", url); return; }
  const loc = a.dataset.explain;
  try {
    const f = await fragment(`/ui/availability/explain?sku=${encodeURIComponent(table.dataset.sku)}&location=${encodeURIComponent(loc)}`);
    const tr = document.createElement("tr"), td = document.createElement("td"); tr.className = "unfolded"; tr.id = "explain"; td.colSpan = 8; td.append(f); tr.append(td);
    a.closest("tr").after(tr); ready(); a.closest("tr").classList.add("sel"); a.setAttribute("aria-expanded", "true");
    for (const k of ["at", "known"]) url.searchParams.delete(k); url.searchParams.set("location", loc); url.hash = "explain"; history.replaceState(null, "", url);
  } catch (x) { toast("The explanation did not arrive: " + x.message); }
}

// --- through time: the slider asks for the number of a past moment
let trip, ask;
const there = () => { const r = $("through"); return !r || +r.value >= +r.max - +r.step ? "" : r.value; };
function address(w, at, known) {
  const q = new URLSearchParams({ sku: w.dataset.sku, location: w.dataset.location });
  if (at) { q.set("at", at); if (known) q.set("known", "1"); }
  return q;
}
async function travel() {
  const w = $("why-number"), at = there(), q = address(w, at, $("known").checked), mine = ask = {}, focus = document.activeElement?.id;
  try {
    const f = await fragment("/ui/availability/explain?" + q);
    if (mine !== ask) return;
    const value = $("through")?.value;
    w.replaceWith(f); ready();
    if ($("through") && mine === ask) $("through").value = at || $("through").max;
    if (value && focus) $(focus)?.focus();
    url.search = q; url.hash = "explain"; history.replaceState(null, "", url);
  } catch (x) { toast("That moment did not arrive: " + x.message, true); }
}
const clock = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
function mark() {
  const r = $("through"), svg = document.querySelector(".curve svg"); if (!r) return;
  let l = svg.querySelector(".then");
  if (!l) { l = document.createElementNS("http://www.w3.org/2000/svg", "line"); l.setAttribute("class", "then"); l.setAttribute("y1", 0); l.setAttribute("y2", 100); svg.append(l); }
  const x = 1000 * (r.value - r.min) / (r.max - r.min); l.setAttribute("x1", x); l.setAttribute("x2", x);
  const say = there() ? clock.format(new Date(r.value * 1e3)) : "now"; r.setAttribute("aria-valuetext", say); $("then").textContent = say;
}
function ready() {
  const r = $("through"); if (!r) return;
  r.hidden = false; mark();
  r.addEventListener("input", () => { mark(); clearTimeout(trip); trip = setTimeout(travel, 120); });
  $("known").addEventListener("change", travel);
  $("tonow")?.addEventListener("click", () => { r.value = r.max; travel(); });
}
ready();

if (table) {
  table.addEventListener("click", (e) => { const a = e.target.closest("[data-explain]"); if (a && !e.metaKey && !e.ctrlKey) { e.preventDefault(); unfold(a); } });
  addEventListener("keydown", (e) => {
    if (e.target.closest("input, select, dialog") || e.ctrlKey || e.metaKey || (e.key !== "j" && e.key !== "k")) return;
    const all = [...table.querySelectorAll("[data-explain]")], k = all.indexOf(document.activeElement), to = e.key === "j" ? all[k + 1] : all[Math.max(0, k - 1)];
    if (to) { e.preventDefault(); to.focus(); }
  });
}
