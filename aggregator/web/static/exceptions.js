// Exceptions: decide, and say why.
import { $, post, toast, num, set } from "./base.js";
const list = $("list"), dialog = $("why");
let current;
function decided(li, word, open) {
  const next = li.nextElementSibling?.matches(".exception") ? li.nextElementSibling : li.previousElementSibling;
  const gone = document.createElement("p"); gone.className = "soft done"; gone.textContent = word;
  li.querySelector(".acts")?.replaceWith(gone); li.classList.add("decided"); next?.focus();
  set("openhead", num.format(open)); const b = $("n-open"); if (b) { b.textContent = num.format(open); b.hidden = !open; }
}
list?.addEventListener("click", async (e) => {
  const li = e.target.closest(".exception"); if (!li) return;
  if (e.target.closest("[data-discard]")) { current = li; $("whywhat").textContent = li.querySelector("h2").textContent + ": " + li.querySelector("p:not(.hint)").textContent; $("note").value = ""; dialog.returnValue = ""; dialog.showModal(); $("note").focus(); }
  const b = e.target.closest("[data-retry]");
  if (b) {
    b.disabled = true;
    try { const m = await post(`/ui/exceptions/${encodeURIComponent(li.dataset.id)}/retry`); if (m.state === "open") { b.disabled = false; toast("Tried again; it still cannot take effect: " + (m.reason ?? "")); } else { decided(li, "Tried again, and it took effect.", m.open); } } catch (x) { b.disabled = false; toast(x.message); }
  }
});
dialog?.addEventListener("close", async () => {
  if (dialog.returnValue !== "discard" || !current) return;
  try { const m = await post(`/ui/exceptions/${encodeURIComponent(current.dataset.id)}/discard`, { note: $("note").value }); decided(current, "Discarded: " + $("note").value, m.open); } catch (x) { toast(x.message); }
});
addEventListener("keydown", (e) => {
  if (e.target.closest("input, select, dialog") || e.ctrlKey || e.metaKey || (e.key !== "j" && e.key !== "k") || !list) return;
  const all = [...list.querySelectorAll(".exception")], k = all.indexOf(document.activeElement?.closest(".exception")), to = e.key === "j" ? all[k + 1] : all[Math.max(0, k - 1)];
  if (to) { e.preventDefault(); to.focus(); to.scrollIntoView({ block: "nearest" }); }
});
