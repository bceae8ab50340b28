// What every page has: times in the viewer's zone, keys, theme, posting.
export const $ = (id) => document.getElementById(id);
export const num = new Intl.NumberFormat("en");
export const set = (id, s) => { const e = $(id); if (e && e.textContent !== s) e.textContent = s; };
export const ago = (s) => s < 0 ? "0 s" : s < 60 ? `${s | 0} s` : s < 3600 ? `${s / 60 | 0} min` : s < 86400 ? `${s / 3600 | 0} h ${String(s % 3600 / 60 | 0).padStart(2, "0")} min` : `${s / 86400 | 0} d ${s % 86400 / 3600 | 0} h`;

// Fragments are rendered and escaped by our own server; no other HTML is ever put in.
const policy = window.trustedTypes ? trustedTypes.createPolicy("tillwire", { createHTML: (s) => s }) : { createHTML: (s) => s };
export async function fragment(url, signal, what = "1") {
  const r = await fetch(url, { signal, headers: { "X-Tillwire": what } });
  if (r.status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search)); }
  if (!r.ok) throw Object.assign(new Error(`${r.status}`), { status: r.status });
  for (const c of (r.headers.get("X-Tillwire-Counts") ?? "").split(",")) { const [id, n] = c.split("="), e = $(id); if (e) { e.textContent = num.format(n); e.hidden = n === "0"; } }
  const t = document.createElement("template");
  t.innerHTML = policy.createHTML(await r.text());
  times(t.content);
  return t.content;
}
export async function post(url, body) {
  const r = await fetch(url, { method: "POST", headers: { "X-Tillwire": "1", "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
  const m = await r.json().catch(() => ({}));
  if (!r.ok) throw Object.assign(new Error(m.detail || `The aggregator answered ${r.status}.`), { fields: m.errors ?? [] });
  return m;
}


// swap puts new content in, and leaves the reader where they are: what was focused
// or unfolded is so again, found by its id or its row.
export function swap(host, content) {
  const a = host.contains(document.activeElement) ? document.activeElement : null;
  const row = a?.closest("[data-row]")?.dataset.row, id = a?.id, inRow = a && row !== undefined ? [...a.closest("[data-row]").querySelectorAll("a, button")].indexOf(a) : -1;
  const open = new Set([...host.querySelectorAll("details[open]")].map((d) => d.id)), x = [...host.querySelectorAll(".scroll")].map((d) => d.scrollLeft);
  for (const d of content.querySelectorAll("details")) if (open.has(d.id)) d.open = true;
  for (const k of host.querySelectorAll("[data-keep]")) content.querySelector("#" + k.id)?.replaceWith(k); // a status is not told anew, a chart not drawn anew
  const typed = a?.closest("form[data-filter]"), same = typed && typed.parentNode === host && content.querySelector(":scope > form[data-filter]");
  if (same) { // somebody types in it: it stays, all around it is new
    const all = [...content.childNodes], at = all.indexOf(same);
    for (const n of [...host.childNodes]) if (n !== typed) n.remove();
    typed.before(...all.slice(0, at)); typed.after(...all.slice(at + 1));
    return;
  }
  host.replaceChildren(content);
  host.querySelectorAll(".scroll").forEach((d, i) => { d.scrollLeft = x[i] ?? 0; });
  const r = row !== undefined && host.querySelector(`[data-row="${CSS.escape(row)}"]`);
  const to = r ? (inRow < 0 ? r : r.querySelectorAll("a, button")[inRow] ?? r) : id && $(id);
  if (to) { if (to === r) r.tabIndex = -1; to.focus({ preventScroll: true }); }
}

// --- times: the viewer's zone; the store's own beside it where it differs
const sameDay = (a, b) => a.toDateString() === b.toDateString();
const hm = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const dhm = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
const fine = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
export function times(root) {
  for (const e of root.querySelectorAll("time[datetime]")) {
    const iso = e.getAttribute("datetime"), d = new Date(iso);
    if (isNaN(d) || d.getFullYear() < 1971) { e.textContent = "unknown"; continue; }
    let s = e.dataset.fine !== undefined ? fine.format(d) : sameDay(d, new Date()) ? hm.format(d) : dhm.format(d);
    const z = /([+-])(\d\d):(\d\d)$/.exec(iso), off = z ? (z[1] === "-" ? -1 : 1) * (+z[2] * 60 + +z[3]) : 0;
    if (z && off !== -d.getTimezoneOffset()) s += ` (${iso.slice(11, 16)} there)`;
    e.textContent = s; e.title = iso;
  }
}
times(document);

// --- a word to the reader
let toastTimer;
export function toast(s, bad) { const t = $("toast"); t.textContent = s; t.classList.toggle("bad", !!bad); t.hidden = false; clearTimeout(toastTimer); toastTimer = setTimeout(() => { t.hidden = true; }, 6000); }

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
export const search = () => $("q");
addEventListener("keydown", (e) => {
  if (e.metaKey || e.ctrlKey || e.altKey) return;
  if (e.key === "Escape" && e.target.matches?.("input[type=search]")) e.target.blur();
  if (typing(e)) return;
  if (e.key === "/") { e.preventDefault(); search()?.focus(); search()?.select(); }
  if (e.key === "?") { e.preventDefault(); $("keys")?.showModal(); }
  const to = going && { f: "/", a: "/availability", r: "/reservations", e: "/exceptions", d: "/reconciliation", p: "/postings", c: "/channels", t: "/trace", u: "/audit" }[e.key];
  clearTimeout(going); going = e.key === "g" ? setTimeout(() => { going = 0; }, 1200) : 0;
  if (to && document.querySelector(`#rail a[href="${to}"]`)) { e.preventDefault(); e.stopImmediatePropagation(); location.assign(to); }
}, true);
let going; // g was pressed: a letter goes to a page
if ($("help")) { $("help").hidden = false; $("help").addEventListener("click", () => $("keys").showModal()); }

// --- the drawer of a narrow screen
const menu = $("menu");
if (menu) {
  menu.hidden = false;
  const drawer = (on) => { document.body.classList.toggle("drawer", on); menu.setAttribute("aria-expanded", on); if (on) $("rail").querySelector("a").focus(); };
  menu.addEventListener("click", () => drawer(!document.body.classList.contains("drawer")));
  addEventListener("keydown", (e) => { if (e.key === "Escape" && document.body.classList.contains("drawer")) { drawer(false); menu.focus(); } });
  document.addEventListener("click", (e) => { if (document.body.classList.contains("drawer") && !e.target.closest("#rail, #menu")) drawer(false); });
}

// --- search: suggestions while typing
const box = document.querySelector("[data-find]"), list = $("found");
if (box) {
  let timer, ask, at = -1;
  const options = () => [...list.children];
  const close = () => { list.hidden = true; at = -1; box.setAttribute("aria-expanded", "false"); box.removeAttribute("aria-activedescendant"); };
  const pick = (i) => { at = i; options().forEach((o, k) => o.setAttribute("aria-selected", k === i)); if (i < 0) box.removeAttribute("aria-activedescendant"); else { box.setAttribute("aria-activedescendant", "found-" + i); options()[i].scrollIntoView({ block: "nearest" }); } };
  const look = async () => {
    const q = box.value.trim(), mine = ask = {};
    if (!q) return close();
    const r = await fetch("/ui/find?q=" + encodeURIComponent(q)).catch(() => 0);
    if (!r.ok || mine !== ask) return;
    list.replaceChildren(...(await r.json()).map((f, i) => {
      const li = document.createElement("li"), b = document.createElement("b"), s = document.createElement("small");
      li.id = "found-" + i; li.setAttribute("role", "option"); li.setAttribute("aria-selected", "false"); li.dataset.href = f.href;
      b.textContent = f.name; s.textContent = f.hint ? `${f.kind} · ${f.hint}` : f.kind; li.append(b, s);
      return li;
    }));
    list.hidden = !list.children.length; at = -1; box.setAttribute("aria-expanded", !list.hidden);
  };
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 120); });
  box.addEventListener("keydown", (e) => {
    const n = list.hidden ? 0 : list.children.length;
    if (e.key === "Escape") close();
    if (!n) return;
    if (e.key === "ArrowDown") { e.preventDefault(); pick((at + 1) % n); }
    if (e.key === "ArrowUp") { e.preventDefault(); pick((at + n - 1) % n); }
    if (e.key === "Enter" && at >= 0) { e.preventDefault(); location.assign(list.children[at].dataset.href); }
  });
  box.addEventListener("blur", () => setTimeout(close, 150));
  list.addEventListener("mousedown", (e) => { const li = e.target.closest("li"); if (li) { e.preventDefault(); location.assign(li.dataset.href); } });
}

// --- incidents that a person closes
document.addEventListener("click", async (e) => {
  const b = e.target.closest("[data-ack]");
  if (!b) return;
  if (!b.dataset.sure) { b.dataset.sure = "1"; b.textContent = "Sure? The events stay lost, the incident closes"; return; }
  b.disabled = true;
  try { await post("/ui/incidents/acknowledge", { id: b.dataset.ack }); b.closest("li").remove(); toast("Closed."); } catch (x) { b.disabled = false; toast(x.message); }
});
