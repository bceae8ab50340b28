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
  if (open) { url.searchParams.delete("location"); url.hash = ""; history.replaceState(null, "", url); return; }
  const loc = a.dataset.explain;
  try {
    const f = await fragment(`/ui/availability/explain?sku=${encodeURIComponent(table.dataset.sku)}&location=${encodeURIComponent(loc)}`);
    const tr = document.createElement("tr"), td = document.createElement("td"); tr.className = "unfolded"; tr.id = "explain"; td.colSpan = 8; td.append(f); tr.append(td);
    a.closest("tr").after(tr); a.closest("tr").classList.add("sel"); a.setAttribute("aria-expanded", "true");
    url.searchParams.set("location", loc); url.hash = "explain"; history.replaceState(null, "", url);
  } catch (x) { toast("The explanation did not arrive: " + x.message); }
}
if (table) {
  table.addEventListener("click", (e) => { const a = e.target.closest("[data-explain]"); if (a && !e.metaKey && !e.ctrlKey) { e.preventDefault(); unfold(a); } });
  addEventListener("keydown", (e) => {
    if (e.target.closest("input, select, dialog") || e.ctrlKey || e.metaKey || (e.key !== "j" && e.key !== "k")) return;
    const all = [...table.querySelectorAll("[data-explain]")], k = all.indexOf(document.activeElement), to = e.key === "j" ? all[k + 1] : all[Math.max(0, k - 1)];
    if (to) { e.preventDefault(); to.focus(); }
  });
}
