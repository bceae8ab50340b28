// What every page has: times in the viewer's zone, keys, theme, posting.
export const $ = (id) => document.getElementById(id);
export const num = new Intl.NumberFormat("en");
export const set = (id, s) => { const e = $(id); if (e && e.textContent !== s) e.textContent = s; };
export const ago = (s) => s < 0 ? "0 s" : s < 60 ? `${s | 0} s` : s < 3600 ? `${s / 60 | 0} min` : s < 86400 ? `${s / 3600 | 0} h ${String(s % 3600 / 60 | 0).padStart(2, "0")} min` : `${s / 86400 | 0} d ${s % 86400 / 3600 | 0} h`;

// Fragments are rendered and escaped by our own server; no other HTML is ever put in.
const policy = window.trustedTypes ? trustedTypes.createPolicy("tillwire", { createHTML: (s) => s }) : { createHTML: (s) => s };
export async function fragment(url, signal) {
  const r = await fetch(url, { signal, headers: { "X-Tillwire": "1" } });
  if (r.status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search)); }
  if (!r.ok) throw Object.assign(new Error(`${r.status}`), { status: r.status });
  const t = document.createElement("template");
  t.innerHTML = policy.createHTML(await r.text());
  times(t.content);
  return t.content;
}
export async function post(url, body) {
  const r = await fetch(url, { method: "POST", headers: { "X-Tillwire": "1", "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
  const m = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error(m.detail || `The aggregator answered ${r.status}.`);
  return m;
}

// --- times: the viewer's zone; the store's own beside it where it differs
const sameDay = (a, b) => a.toDateString() === b.toDateString();
const hm = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const dhm = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
export function times(root) {
  for (const e of root.querySelectorAll("time[datetime]")) {
    const iso = e.getAttribute("datetime"), d = new Date(iso);
    if (isNaN(d) || d.getFullYear() < 1971) { e.textContent = "unknown"; continue; }
    let s = sameDay(d, new Date()) ? hm.format(d) : dhm.format(d);
    const z = /([+-])(\d\d):(\d\d)$/.exec(iso), off = z ? (z[1] === "-" ? -1 : 1) * (+z[2] * 60 + +z[3]) : 0;
    if (z && off !== -d.getTimezoneOffset()) s += ` (${iso.slice(11, 16)} there)`;
    e.textContent = s; e.title = iso;
  }
}
times(document);

// --- a word to the reader
let toastTimer;
export function toast(s) { const t = $("toast"); t.textContent = s; t.hidden = false; clearTimeout(toastTimer); toastTimer = setTimeout(() => { t.hidden = true; }, 6000); }

// --- theme
const themed = new Set();
export const onTheme = (f) => themed.add(f);
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => themed.forEach((f) => f()));
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
if ($("theme")) {
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    const t = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = t;
    try { localStorage.setItem("theme", t); } catch { /* not kept, then */ }
    themed.forEach((f) => f());
  });
}
export function tone(name) { const e = document.createElement("i"); e.style.color = `var(${name})`; document.body.append(e); const c = getComputedStyle(e).color; e.remove(); return c; }

// --- keys
const typing = (e) => e.target.closest?.("input, select, textarea, dialog");
export const search = () => $("sku") ?? $("q");
addEventListener("keydown", (e) => {
  if (e.metaKey || e.ctrlKey || e.altKey) return;
  if (e.key === "Escape" && e.target.matches?.("input[type=search]")) e.target.blur();
  if (typing(e)) return;
  if (e.key === "/") { e.preventDefault(); search()?.focus(); search()?.select(); }
  if (e.key === "?") { e.preventDefault(); $("keys")?.showModal(); }
});
if ($("help")) { $("help").hidden = false; $("help").addEventListener("click", () => $("keys").showModal()); }

// --- incidents that a person closes
document.addEventListener("click", async (e) => {
  const b = e.target.closest("[data-ack]");
  if (!b) return;
  if (!b.dataset.sure) { b.dataset.sure = "1"; b.textContent = "Sure? The events stay lost, the incident closes"; return; }
  b.disabled = true;
  try { await post("/ui/incidents/acknowledge", { id: b.dataset.ack }); b.closest("li").remove(); toast("Closed."); } catch (x) { b.disabled = false; toast(x.message); }
});
