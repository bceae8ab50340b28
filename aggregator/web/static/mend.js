// Exceptions, mended: many at once in steps that can be watched and stopped, and an
// editor that shows what is wrong where it stands.
//
//   <button data-many="do=retry&code=…">   counts first, then decides step by step
//   <form data-edit="/ui/exceptions/…/edit">
import { $, num, post, toast } from "./base.js";

// work.js keeps the page up to date; imported here it would run twice, under two addresses.
const refresh = () => dispatchEvent(new Event("renew"));

// --- many at once
const many = $("many");
const verbs = {
  retry: { ask: "Try again: ", go: "Try all again", did: "took effect", danger: false, tell: "Each is folded in as if it came now. What still cannot take effect stays open with its reason." },
  discard: { ask: "Discard: ", go: "Discard all", did: "are discarded", danger: true, tell: "None of them will ever take effect on stock. They stay in the log with your reason, and can be read under “Discarded”. This cannot be undone here." },
};
let run; // what the open dialog is about: { query, verb, n, stop }

function fact(name, value) {
  if (!value) return;
  const dt = document.createElement("dt"), dd = document.createElement("dd");
  dt.textContent = name; dd.textContent = value; $("many-of").append(dt, dd);
}

async function preview(button) {
  const what = new URLSearchParams(button.dataset.many).get("do"), verb = verbs[what];
  const r = await fetch("/ui/exceptions/preview?" + button.dataset.many, { headers: { "X-Tillwire": "1" } });
  const m = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error(m.detail || `The aggregator answered ${r.status}.`);
  run = { query: m.query, verb, n: m.n, stop: false, button };
  $("many-ask").textContent = verb.ask + m.say; $("many-tell").textContent = verb.tell;
  $("many-of").replaceChildren(); fact("By cause", m.causes); fact("By source", m.sources);
  $("many-noted").hidden = false; $("many-note").value = ""; $("many-note").required = verb.danger;
  many.querySelector("label").textContent = verb.danger ? "Why" : "Why (may stay empty)";
  $("many-bar").hidden = true; $("many-say").textContent = "";
  $("many-do").hidden = !m.n; $("many-do").disabled = false; $("many-do").textContent = verb.go; $("many-do").classList.toggle("danger", verb.danger);
  $("many-stop").textContent = "Cancel";
  many.showModal(); (m.n ? $("many-note") : $("many-stop")).focus();
}

async function steps(mine) {
  const bar = $("many-bar"), note = $("many-note").value.trim();
  let seen = 0, done = 0, open = 0, next = "", failed = "";
  $("many-noted").hidden = true; $("many-do").hidden = true; $("many-stop").textContent = "Stop"; $("many-stop").focus();
  bar.max = mine.n; bar.value = 0; bar.hidden = false;
  const say = (end) => { $("many-say").textContent = `${num.format(seen)} of ${num.format(Math.max(mine.n, seen))}: ${num.format(done)} ${mine.verb.did}, ${num.format(open)} stay open.${end}`; };
  say("");
  do {
    try {
      const m = await post("/ui/exceptions/bulk?" + mine.query + (next && "&after=" + encodeURIComponent(next)), { note });
      seen += m.matched; done += m.done; open += m.open + m.refused; next = m.next;
    } catch (x) { failed = " It stopped: " + x.message; }
    bar.max = Math.max(mine.n, seen); bar.value = seen; say("");
  } while (next && !failed && !mine.stop);
  say(failed || (next && " Stopped; the others are as they were.") || "");
  mine.ended = true; $("many-stop").textContent = "Close";
  toast($("many-say").textContent, !!failed);
  refresh();
}

if (many) {
  document.addEventListener("click", (e) => {
    const b = e.target.closest("[data-many]");
    if (!b) return;
    b.disabled = true;
    preview(b).catch((x) => toast(x.message, true)).finally(() => { b.disabled = false; });
  });
  many.querySelector("form").addEventListener("submit", (e) => { e.preventDefault(); if (!run.started) { run.started = true; steps(run); } });
  $("many-stop").addEventListener("click", () => { if (run.started && !run.ended) { run.stop = true; $("many-stop").textContent = "Stopping…"; } else many.close(); });
  many.addEventListener("cancel", (e) => { if (run.started && !run.ended) { e.preventDefault(); run.stop = true; } }); // Escape stops first
  many.addEventListener("close", () => { run.stop = true; refresh(); });
}

// --- the editor
// place finds where the value of a pointer stands in a JSON text; of one that is not
// there, what would hold it.
export function place(text, pointer) {
  const want = pointer.split("/").slice(1).map((s) => s.replaceAll("~1", "/").replaceAll("~0", "~"));
  let at = 0, best = [0, 0], depth = -1;
  const space = () => { while (/\s/.test(text[at] ?? "")) at++; };
  const string = () => { const from = at++; while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1; at++; return text.slice(from, at); };
  const value = (level, on) => {
    space();
    const from = at, open = text[at];
    if (open === "{" || open === "[") {
      at++;
      for (let i = 0; at < text.length; i++) {
        space();
        if (text[at] === "}" || text[at] === "]") break;
        let key = String(i);
        if (open === "{") { if (text[at] !== '"') { at = text.length; return; } try { key = JSON.parse(string()); } catch { at = text.length; return; } space(); at++; }
        value(level + 1, on && want[level] === key);
        space();
        if (text[at] === ",") at++;
      }
      at++;
    } else if (open === '"') string();
    else { at++; while (at < text.length && !/[\s,\]}]/.test(text[at])) at++; }
    if (on && level > depth && level <= want.length) { depth = level; best = level < want.length ? [from, from + 1] : [from, at]; }
  };
  value(0, true);
  return best;
}

function show(area, pointer) {
  const [from, to] = place(area.value, pointer), line = area.value.slice(0, from).split("\n").length;
  area.focus(); area.setSelectionRange(from, to);
  area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(area).lineHeight));
}

function wrong(form, message, fields) {
  const problem = form.querySelector(".problem"), area = form.querySelector("textarea"), list = document.createElement("ul");
  for (const f of fields) {
    const li = document.createElement("li"), b = document.createElement("button");
    b.type = "button"; b.dataset.pointer = f.pointer; b.textContent = `${f.pointer || "the document"} ${f.message}`;
    b.addEventListener("click", () => show(area, f.pointer));
    li.append(b); list.append(li);
  }
  problem.replaceChildren(message, list); problem.hidden = false;
  if (fields.length) { area.setAttribute("aria-invalid", "true"); show(area, fields[0].pointer); }
}

document.addEventListener("submit", async (e) => {
  const f = e.target.closest("form[data-edit]");
  if (!f) return;
  e.preventDefault();
  const area = f.querySelector("textarea"), button = f.querySelector(".btn");
  f.querySelector(".problem").hidden = true; area.removeAttribute("aria-invalid");
  try { JSON.parse(area.value); } catch (x) { return wrong(f, "", [{ pointer: "", message: "is no JSON: " + x.message }]); }
  button.disabled = true;
  try {
    const m = await post(f.dataset.edit, { document: area.value, note: f.elements.note.value });
    delete f.dataset.dirty;
    toast(m.say); location.reload();
  } catch (x) { wrong(f, x.message, x.fields ?? []); button.disabled = false; }
});
document.addEventListener("input", (e) => { const f = e.target.closest("form[data-edit]"); if (f) f.dataset.dirty = ""; });
addEventListener("beforeunload", (e) => { if (document.querySelector("form[data-edit][data-dirty]")) e.preventDefault(); });
