// Pages that list things and let people decide: kept up to date, narrowed by
// fields, moved through by keys, with buttons that say what they will do.
//
//   <div data-live id="part">          its content is asked for again every 5 s (data-live="60": every 60) with X-Tillwire: part
//   <form data-filter>                 fields narrow the list; the address follows
//   <tr data-row="key">                j, k, Enter
//   <button data-act="/ui/…" data-ask data-tell data-note="required|optional" data-do>
//   <select data-change="/ui/…" data-key>
//   <form data-post="/ui/…">           its fields are sent as JSON
import { $, post, swap, toast, fragment } from "./base.js";
import { keep } from "./live.js";

const part = document.querySelector("[data-live]");
const EVERY = 1000 * (+part?.dataset.live || 5); // data-live="60": what changes slowly

// reading tells that a change now would pull something from under the reader's hand.
function reading() {
  const a = document.activeElement;
  return document.querySelector("dialog[open]") || !getSelection().isCollapsed || (part.contains(a) && a.matches("input, select, textarea")) || part.querySelector("form[data-dirty]");
}

const renew = part && keep({
  every: EVERY, patience: 3 * EVERY, busy: reading,
  load: async (signal) => swap(part, await fragment(location.pathname + location.search, signal, "part")),
});
const refresh = () => renew?.();
if (part) addEventListener("renew", refresh);

// --- fields that narrow the list
let typing;
function narrow(form) {
  const q = new URLSearchParams();
  for (const [k, v] of new FormData(form)) if (v.trim()) q.set(k, v.trim());
  history.replaceState(null, "", form.getAttribute("action") + (q.size ? "?" + q : ""));
  refresh();
}
document.addEventListener("input", (e) => { const f = e.target.closest("form[data-filter]"); if (f) { clearTimeout(typing); typing = setTimeout(narrow, e.target.matches("select") ? 0 : 300, f); } });
document.addEventListener("submit", (e) => { const f = e.target.closest("form[data-filter]"); if (f) { e.preventDefault(); clearTimeout(typing); narrow(f); } });

// --- j, k, Enter
addEventListener("keydown", (e) => {
  if (e.target.closest("input, select, textarea, dialog") || e.ctrlKey || e.metaKey || e.altKey) return;
  const rows = [...document.querySelectorAll("[data-row]")], at = rows.indexOf(document.activeElement?.closest("[data-row]"));
  if (e.key === "j" || e.key === "k") {
    const to = e.key === "j" ? rows[at + 1] : rows[Math.max(0, at - 1)];
    if (to) { e.preventDefault(); to.tabIndex = -1; to.focus(); to.scrollIntoView({ block: "nearest" }); }
  }
  if (e.key === "Enter" && e.target.matches("[data-row]")) e.target.querySelector("th a, td a, h2 a")?.click();
});

// --- buttons that ask before they do
const dialog = $("act"), note = $("act-note"), noted = $("act-noted");
let pressed;
document.addEventListener("click", (e) => {
  const b = e.target.closest("[data-act]");
  if (!b) return;
  const d = b.dataset;
  pressed = b;
  $("act-ask").textContent = d.ask; $("act-tell").textContent = d.tell ?? "";
  const go = $("act-do"); go.textContent = d.do ?? "Do it"; go.classList.toggle("danger", b.classList.contains("danger"));
  noted.hidden = !d.note && !d.key; note.required = d.note === "required";
  note.type = d.type ?? "text"; note.value = d.value ?? ""; note.autocomplete = d.type === "password" ? "new-password" : "off";
  noted.querySelector("label").textContent = d.label ?? (d.note === "required" ? "Why" : "Why (may stay empty)");
  noted.querySelector(".hint").hidden = !!d.key;
  named(d.name);
  dialog.returnValue = ""; dialog.showModal(); (noted.hidden ? go : note).focus();
});
// named adds a field for what a button is about, where the button does not say.
function named(label) {
  $("act-named")?.remove();
  if (!label) return;
  const p = document.createElement("div"), l = document.createElement("label"), i = document.createElement("input");
  p.id = "act-named"; i.id = "act-name"; i.required = true; i.maxLength = 64; i.autocomplete = "off"; l.htmlFor = i.id; l.textContent = label;
  p.append(l, i); noted.before(p);
}
dialog.addEventListener("close", async () => {
  const b = pressed, d = b?.dataset;
  if (dialog.returnValue !== "do" || !b) { b?.focus(); return; }
  b.disabled = true;
  try {
    const m = await post(d.act + ($("act-name") ? encodeURIComponent($("act-name").value.trim()) : ""), { [d.key ?? "note"]: note.value.trim() });
    toast(m.say ?? "Done.");
    if (m.to) return location.assign(m.to); // what it was about is gone
  } catch (x) { toast(x.message, true); }
  note.value = ""; b.disabled = false;
  if (part) await refresh(); else location.reload();
});

// --- a choice that is sent at once
document.addEventListener("change", async (e) => {
  const s = e.target.closest("[data-change]");
  if (!s) return;
  try { toast((await post(s.dataset.change, { [s.dataset.key]: s.value })).say); } catch (x) { s.value = s.dataset.was; toast(x.message, true); }
  s.blur(); refresh();
});

// --- forms: what somebody has begun to fill in is not taken away
document.addEventListener("input", (e) => { const f = e.target.closest("form[data-post]"); if (f) f.dataset.dirty = ""; });
document.addEventListener("submit", async (e) => {
  const f = e.target.closest("form[data-post]");
  if (!f) return;
  e.preventDefault();
  const problem = f.querySelector(".problem"), button = f.querySelector(".btn");
  problem.hidden = true; button.disabled = true;
  try {
    const m = await post(f.dataset.post, Object.fromEntries(new FormData(f)));
    toast(m.say ?? "Saved.");
    delete f.dataset.dirty;
    const shown = f.querySelector(".shown");
    if (shown) { shown.hidden = false; shown.querySelector("pre").textContent = m.show; shown.querySelector(".hint").textContent = m.note; } else if (f.closest(".fold-form") || !f.closest("[data-live]")) f.reset();
    if (part) refresh(); else location.reload();
  } catch (x) { problem.textContent = x.message; problem.hidden = false; }
  button.disabled = false;
});
document.addEventListener("click", async (e) => {
  const b = e.target.closest("[data-copy]");
  if (!b) return;
  const text = b.closest(".shown").querySelector("pre");
  try { await navigator.clipboard.writeText(text.textContent); toast("Copied."); } catch { getSelection().selectAllChildren(text); toast("Select and copy it: the browser lets no page write to the clipboard here."); }
});
