// The fleet page: server-rendered tiles made live by one event stream.
import { $, num, set, ago, tone, onTheme, fragment, toast } from "./base.js";
import { curve } from "./chart.js";
import { fresh as told } from "./live.js";

const LABEL = ["< 30 s", "< 2 min", "< 5 min", "< 15 min", "< 1 h", "< 6 h", "over 6 h", "offline"], LIMIT = [30, 120, 300, 900, 3600, 21600];
const STATE = ["online", "pos_silent", "draining", "rebuilding", "stuck", "offline"], WORD = ["Online", "POS silent", "Draining", "Rebuilding", "Stuck", "Offline"];
const main = $("main"), regions = $("regions"), tiles = regions ? [...regions.querySelectorAll(".s")] : [], n = tiles.length;
const tile = new Array(n), mark = new Float64Array(n), backlog = new Float64Array(n), state = new Uint8Array(n), level = new Uint8Array(n), text = new Array(n), incidents = new Uint16Array(n);
let skew = Date.now() - Number(main.dataset.now), touched = new Set(); // skew: this clock minus the server's
const OPENED = Number(main.dataset.now);
for (const t of tiles) {
  const i = +t.dataset.i, c = t.className;
  tile[i] = t; mark[i] = +t.dataset.w; backlog[i] = +t.dataset.b; incidents[i] = +t.dataset.c; level[i] = +/ l(\d)/.exec(c)[1]; state[i] = +/ p(\d)/.exec(c)[1];
  text[i] = (t.title.replace(/ · [^·]*$/, "") + " " + t.closest(".region").firstElementChild.firstChild.textContent).toLowerCase();
}
const behind = (i, now) => mark[i] === -1 ? 0 : Math.max(0, (now - (mark[i] || OPENED)) / 1000);
const levelOf = (i, now) => { if (state[i] === 5) return 7; const s = behind(i, now); let k = 0; while (k < 6 && s >= LIMIT[k]) k++; return k; };
const nameOf = (i) => tile[i].title.replace(/ · [^·]*$/, "");
const stats = { applied: 0, ms: [], sort: [], bytes: 0, changed: 0 }; // read by the measurement
window.__stats = stats;

// --- the clock: lag grows by itself, so the server only sends what changed
let lastMsg = 0, held = 0, past = false; // past: the tiles show an earlier minute
for (let i = 0; i < n; i++) held += backlog[i];
function paint() {
  if (past) return stale();
  const t0 = performance.now(), now = Date.now() - skew, count = new Uint32Array(8), states = new Uint32Array(6);
  let worst = -1, cur = 0, far = -1, refilter = false;
  for (let i = 0; i < n; i++) {
    const k = levelOf(i, now), s = behind(i, now);
    if (k !== level[i]) { tile[i].classList.replace("l" + level[i], "l" + k); level[i] = k; stats.changed++; refilter = true; }
    count[k]++; states[state[i]]++;
    if (state[i] !== 5 && s < 60) cur++;
    if (s > far && mark[i] && (k > 0 || state[i] > 0)) { far = s; worst = i; }
  }
  set("cur", num.format(cur)); set("late", num.format(count[3] + count[4] + count[5] + count[6])); set("off", num.format(count[7])); set("stuck", num.format(states[4])); set("backlog", num.format(held));
  $("worstline").hidden = worst < 0;
  set("worstlag", worst < 0 ? "none" : ago(far));
  if (worst >= 0) { set("worst", `${nameOf(worst)}, ${ago(far)}`); $("worst").href = tile[worst].href; }
  keys.forEach((b, k) => { const e = b.lastElementChild, v = num.format(count[k]); if (e.textContent !== v) e.textContent = v; });
  stateKeys.forEach((b, k) => { const e = b.lastElementChild, v = num.format(states[k]); if (e.textContent !== v) e.textContent = v; });
  stale();
  if (refilter && filtered()) filter(false);
  dots(now);
  stats.ms.push(performance.now() - t0);
}
const SILENT = 5, HOPELESS = 20; // seconds without an event: the page says so; the stream is opened anew
function stale() {
  const quiet = (performance.now() - lastMsg) / 1000;
  if (quiet > SILENT) told("lost", quiet); else if (lastMsg) told("live", quiet);
  if (quiet > HOPELESS && performance.now() - opened > HOPELESS * 1e3) connect(); // a line that broke without a word, as after a sleep
}

// --- sort: trouble first inside each region, never under the reader's hand
function sort() {
  if (past || regions.matches(":hover") || regions.contains(document.activeElement)) return;
  const t0 = performance.now();
  const rank = (t) => { const i = +t.dataset.i; return state[i] === 0 && level[i] === 0 ? 1e15 + i : -state[i] * 1e14 + (mark[i] === -1 ? 9e13 : mark[i]); };
  for (const box of regions.querySelectorAll(".tiles")) {
    const kids = [...box.children], want = kids.map((t) => [rank(t), t]).sort((a, b) => a[0] - b[0]);
    if (want.some(([, t], k) => t !== kids[k])) box.append(...want.map(([, t]) => t));
  }
  stats.sort.push(performance.now() - t0);
}

// --- the stream
let es, rev = main.dataset.rev, opened = 0;
function connect() {
  es?.close(); opened = performance.now();
  es = new EventSource(`/ui/stream?boot=${encodeURIComponent(main.dataset.boot)}&since=${rev}`);
  es.addEventListener("reload", () => { es.close(); location.reload(); });
  es.addEventListener("fleet", (e) => {
    const m = JSON.parse(e.data); lastMsg = performance.now(); skew = Date.now() - m.t; rev = m.r; stats.bytes += e.data.length; stats.applied++;
    if (!n) { if (m.d.length) location.reload(); return stale(); } // the first store
    let fresh = false;
    for (const [i, w, b, s, c] of m.d) {
      if (i >= n) { fresh = true; continue; }
      held += b - backlog[i]; mark[i] = w; backlog[i] = b; incidents[i] = c;
      if (past) { state[i] = s; continue; }
      if (s !== state[i]) { const t = tile[i]; t.classList.replace("p" + state[i], "p" + s); t.title = `${nameOf(i)} · ${WORD[s]}`; state[i] = s; if (filtered()) filter(false); }
      if (tile[i] === shown) refresh();
    }
    set("rate", num.format(m.rate < 10 ? Math.round(m.rate * 10) / 10 : Math.round(m.rate))); set("open", num.format(m.open)); set("merged", num.format(m.merged));
    const b = $("n-open"); if (b) { b.hidden = !m.open; b.textContent = num.format(m.open); }
    if (fresh && !regions.matches(":hover")) location.reload(); // a store that this page has no tile for
    requestAnimationFrame(paint);
  });
  es.onerror = () => { if (es.readyState === EventSource.CLOSED) { setTimeout(connect, 5000); } };
}

// --- filters, kept in the address bar
const keys = [...document.querySelectorAll(".key[data-level]")], stateKeys = [...document.querySelectorAll(".key[data-state]")], p = new URLSearchParams(location.search);
let only = p.has("lag") ? +p.get("lag") : -1, onlyState = STATE.indexOf(p.get("state")), query = (p.get("q") ?? "").toLowerCase();
const filtered = () => only >= 0 || onlyState >= 0 || query !== "" || p.has("region") || p.has("version") || p.has("incident");
function filter(write = true) {
  let hit = 0;
  for (let i = 0; i < n; i++) {
    const off = tile[i].dataset.x === "1" || (only >= 0 && level[i] !== only) || (onlyState >= 0 && state[i] !== onlyState) || (query !== "" && !text[i].includes(query));
    tile[i].classList.toggle("off", off); if (!off) hit++;
  }
  for (const r of regions.children) r.classList.toggle("none", filtered() && !r.querySelector(".s:not(.off)"));
  keys.forEach((b, k) => b.setAttribute("aria-pressed", k === only));
  stateKeys.forEach((b, k) => b.setAttribute("aria-pressed", k === onlyState));
  $("matched").hidden = !filtered(); $("matched").firstElementChild.textContent = num.format(hit);
  if (write) {
    const put = (k, v) => v ? p.set(k, v) : p.delete(k);
    put("lag", only >= 0 ? String(only) : ""); put("state", STATE[onlyState] ?? ""); put("q", query);
    history.replaceState(null, "", location.pathname + (p.size ? "?" + p : ""));
  }
  $("csv").href = "/fleet.csv" + location.search;
}

// --- the panel
let shown, pending, at = 0;
async function show(t, write = true) {
  regions.querySelector("[aria-current]")?.removeAttribute("aria-current"); t.setAttribute("aria-current", "true"); shown = t;
  if (write) { p.set("store", t.textContent); history.replaceState(null, "", location.pathname + "?" + p); }
  pending?.abort(); pending = new AbortController(); at = performance.now();
  try {
    const f = await fragment(`/ui/stores/${encodeURIComponent(t.textContent)}/panel`, pending.signal);
    $("side").replaceChildren(f); draw();
  } catch (x) { if (x.name !== "AbortError") toast("The store's details did not arrive."); }
}
async function numbers(url) { try { const r = await fetch(url); return r.ok ? await r.json() : undefined; } catch { return undefined; } } // stale() says that nothing comes
async function draw() {
  const c = $("side").querySelector("[data-history]"); if (!c) return;
  const h = await numbers(c.dataset.history); if (!h || !c.isConnected) return;
  if (h.t.length > 1) await curve(c, h, "lag"); else c.classList.add("nothing");
}
let waiting;
function refresh() { // the shown store changed: at most every 3 s, never under the hand
  if (waiting) return;
  waiting = setTimeout(() => { waiting = 0; if (shown && !$("side").matches(":hover, :focus-within")) show(shown, false); }, Math.max(0, 3000 - (performance.now() - at)));
}

// --- keys: one tab stop, arrows move by geometry
function focusTile(t) { regions.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1"); t.tabIndex = 0; t.focus({ preventScroll: false }); show(t); }
function go(t, key) {
  const all = [...regions.querySelectorAll(".region:not(.none) .s:not(.off)")], k = all.indexOf(t), r = t?.getBoundingClientRect();
  const row = (dir) => { let best, bd = 1e9; for (const x of all) { const q = x.getBoundingClientRect(), dy = (q.top - r.top) * dir; if (dy < 5) continue; const d = dy * 9 + Math.abs(q.left - r.left); if (d < bd) { bd = d; best = x; } } return best; };
  return { ArrowRight: () => all[k + 1], j: () => all[k + 1], ArrowLeft: () => all[k - 1], k: () => all[Math.max(0, k - 1)], ArrowDown: () => row(1), ArrowUp: () => row(-1), Home: () => all[0], End: () => all.at(-1) }[key]?.();
}
if (n) {
  const first = regions.querySelector(".s:not(.off)") ?? tiles[0]; first.tabIndex = 0;
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const t = e.target.closest?.(".s");
    if (e.key === "Escape" && !e.target.closest?.("dialog") && filtered()) { only = onlyState = -1; query = ""; $("q").value = ""; filter(); return; }
    if (e.target.closest?.("input, select, dialog")) return;
    if (!t && e.key !== "j" && e.key !== "k") return;
    const to = go(t ?? shown, e.key); if (to) { e.preventDefault(); focusTile(to); }
  });
  regions.addEventListener("click", (e) => { const t = e.target.closest(".s"); if (t && !e.metaKey && !e.ctrlKey && !e.shiftKey) { e.preventDefault(); focusTile(t); if (innerWidth < 1080) $("side").scrollIntoView({ block: "nearest", behavior: "smooth" }); } });
  regions.addEventListener("dblclick", (e) => { const t = e.target.closest(".s"); if (t) location.assign(t.href); });
  regions.addEventListener("keydown", (e) => { const t = e.target.closest(".s"); if (t && e.key === "Enter") { e.preventDefault(); e.stopPropagation(); location.assign(t.href); } });
  keys.forEach((b, k) => b.addEventListener("click", () => { only = only === k ? -1 : k; filter(); }));
  stateKeys.forEach((b, k) => b.addEventListener("click", (e) => { e.preventDefault(); onlyState = onlyState === k ? -1 : k; filter(); }));
  $("q").addEventListener("input", (e) => { query = e.target.value.trim().toLowerCase(); filter(); });
  $("q").form.addEventListener("submit", (e) => { e.preventDefault(); const hit = regions.querySelector(".s:not(.off)"); if (hit) focusTile(hit); });
  $("filters").addEventListener("change", (e) => { p.set(e.target.name, e.target.value); if (!e.target.value) p.delete(e.target.name); location.assign("/?" + p); });
  $("clear").addEventListener("click", (e) => { if (p.has("region") || p.has("version") || p.has("incident")) return; e.preventDefault(); only = onlyState = -1; query = ""; $("q").value = ""; filter(); });
}

// --- canvases
function ctx(c) { const w = c.clientWidth, d = devicePixelRatio || 1; c._h ??= +c.getAttribute("height"); if (c._w !== w || c._d !== d) { c._w = w; c._d = d; c.width = w * d; c.height = c._h * d; c.style.height = c._h + "px"; } const g = c.getContext("2d"); g.setTransform(d, 0, 0, d, 0, 0); g.clearRect(0, 0, w, c._h); return [g, w, c._h]; }
let pal, tones;
const palette = () => pal ??= LABEL.map((_, k) => tone(`--l${k}`)), T = () => tones ??= { soft: tone("--soft"), line: tone("--line") };
function dots(now) {
  const [g, w, h] = ctx($("dots")), base = h - 20, c0 = palette(), hi = Math.log(86400), x = (s) => Math.log(Math.max(1, Math.min(86400, s))) / hi * (w - 8) + 4;
  const step = 8, cols = Math.ceil(w / step) + 1, grid = new Uint16Array(cols * 8);
  for (let i = 0; i < n; i++) if (mark[i]) grid[(x(behind(i, now)) / step | 0) * 8 + level[i]]++;
  let max = 1; for (let c = 0; c < cols; c++) { let t = 0; for (let k = 0; k < 8; k++) t += grid[c * 8 + k]; if (t > max) max = t; }
  const unit = (base - 4) / Math.sqrt(max); // a square root keeps a lone late store visible beside hundreds of current ones
  for (let c = 0; c < cols; c++) {
    let t = 0; for (let k = 0; k < 8; k++) t += grid[c * 8 + k]; if (!t) continue;
    const hgt = Math.max(4, unit * Math.sqrt(t)); let y = base;
    g.save(); g.beginPath(); g.roundRect(c * step + .75, base - hgt, step - 1.5, hgt, [2.5, 2.5, 0, 0]); g.clip();
    for (let k = 0; k < 8; k++) { const v = grid[c * 8 + k]; if (!v) continue; const dh = hgt * v / t; g.fillStyle = c0[k]; g.fillRect(c * step, y - dh, step, dh); y -= dh; }
    g.restore();
  }
  g.fillStyle = T().line; g.fillRect(0, base + .5, w, 1); g.font = "11px Inter"; g.fillStyle = T().soft;
  const all = [[1, "1 s"], [30, "30 s"], [120, "2 min"], [900, "15 min"], [3600, "1 h"], [21600, "6 h"], [86400, "1 d"]];
  for (const [s, l] of w < 420 ? all.filter((_, i) => i !== 2 && i !== 3) : all) { const px = x(s); g.textAlign = s === 1 ? "left" : s === 86400 ? "right" : "center"; g.fillText(l, px, h - 3); g.fillRect(px, base + 1, 1, 3); }
}
let cols24;
async function hist(again) {
  if (!cols24 || again) cols24 = await numbers("/ui/bands") ?? cols24;
  if (!cols24) return;
  const [g, w, h] = ctx($("hist")), c0 = palette(), left = 58, day = 86400e3, now = Date.now() - skew, from = now - day, rh = (h - 18) / 8, cw = Math.max(1.5, (w - left) / 288);
  g.font = "11px Inter"; g.textBaseline = "middle";
  for (let k = 0; k < 8; k++) { g.fillStyle = T().soft; g.textAlign = "left"; g.fillText(LABEL[k], 0, (7 - k) * rh + rh / 2); g.fillStyle = T().line; g.fillRect(left, (8 - k) * rh - .5, w - left, .5); }
  for (const c of cols24) {
    const px = left + (c.t / 1e3 - from) / day * (w - left); if (px < left - cw) continue;
    for (let k = 0; k < 8; k++) { const v = c.n[k]; if (!v) continue; g.globalAlpha = Math.min(1, .3 + .7 * Math.sqrt(v / n * (k ? 6 : 1))); g.fillStyle = c0[k]; g.fillRect(Math.max(left, px), (7 - k) * rh + 1, Math.max(1.5, cw - .5), rh - 2); }
  }
  g.globalAlpha = 1; g.fillStyle = T().soft; g.textBaseline = "alphabetic";
  for (let q = 0; q <= 4; q++) { const d = new Date(Date.now() - (4 - q) * 6 * 36e5); g.textAlign = q === 4 ? "right" : q ? "center" : "left"; g.fillText(q === 4 ? "now" : d.toTimeString().slice(0, 5), left + (w - left) * q / 4, h - 2); }
}

// --- whom to call: asked for again while nobody reads in it
// --- the wall: no one scrolls it, so tiles shrink and rows go until all fits
function fit() {
  if (!n || !document.body.classList.contains("tv")) return;
  const rows = [...document.querySelectorAll("#calls .call")], over = (e) => e.getBoundingClientRect().bottom + 34 > innerHeight;
  rows.forEach((r) => { r.hidden = false; });
  const last = $("time").checkVisibility() ? $("time") : $("calls");
  for (let i = rows.length - 1; i > 0 && over(last); i--) rows[i].hidden = true;
  for (const px of [64, 56, 48, 42, 36, 30, 25, 21, 17, 14, 12, 10, 8]) {
    regions.style.setProperty("--tile", px + "px"); regions.style.setProperty("--tileh", Math.max(8, px * .62 | 0) + "px");
    regions.classList.toggle("tiny", px < 42);
    if (!over(regions)) break;
  }
}

async function calls() {
  const c = $("calls"); if (document.hidden || past || !c || c.matches(":hover, :focus-within")) return;
  try { c.replaceWith(await fragment("/ui/calls" + location.search)); fit(); } catch { /* stale() says so */ }
}

// --- regions fold, kept in the address bar
function fold(r, on) { r.classList.toggle("folded", on); r.querySelector(".fold").setAttribute("aria-expanded", !on); }
function folded() {
  const f = [...regions.querySelectorAll(".folded")].map((r) => r.dataset.region).join("|"), b = $("foldall");
  if (f) p.set("fold", f); else p.delete("fold");
  history.replaceState(null, "", location.pathname + (p.size ? "?" + p : ""));
  if (b) b.textContent = regions.querySelector(".region:not(.folded)") ? "Fold all regions" : "Unfold all regions";
}
function foldAll() { const on = !!regions.querySelector(".region:not(.folded)"); for (const r of regions.children) fold(r, on); folded(); }

// --- time travel, minute by minute over the last day
const travel = $("travel"), DAY = 1440;
let trip, asked = 0;
const at24 = (minutes) => new Date(Date.now() - skew - (DAY - minutes) * 60e3);
const clock = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit", hour12: false });
function put(i, s, k) {
  const t = tile[i]; t.className = t.className.replace(/ l\d/, ` l${k}`).replace(/ p\d/, ` p${s}`); level[i] = k;
}
async function go24() {
  clearTimeout(trip);
  const m = +travel.value;
  if (m >= DAY) return now24();
  const d = at24(m), ask = ++asked;
  set("when", clock.format(d)); travel.setAttribute("aria-valuetext", clock.format(d));
  trip = setTimeout(async () => {
    const r = await fetch(`/ui/past?at=${d / 1e3 | 0}`).catch(() => 0); if (ask !== asked) return;
    past = true; document.body.classList.add("past"); $("now").hidden = false;
    p.set("at", d / 1e3 | 0); history.replaceState(null, "", location.pathname + "?" + p);
    if (!r.ok) { set("when", `${clock.format(d)}: not kept`); toast("Nothing is kept of that minute: the history begins when the aggregator started."); return; }
    const h = await r.json(), count = new Uint32Array(8), states = new Uint32Array(6); let cur = 0;
    if (ask !== asked) return;
    for (let i = 0; i < n; i++) {
      const v = h.s.charCodeAt(i) - 48, known = v >= 0 && v < 48, k = known ? v & 7 : 0;
      tile[i].classList.toggle("unknown", !known); put(i, known ? v >> 3 : 0, k);
      if (known) { count[k]++; states[v >> 3]++; if (k < 2) cur++; }
    }
    const late = count[3] + count[4] + count[5] + count[6];
    set("cur", num.format(cur)); set("late", num.format(late)); set("off", num.format(count[7])); set("stuck", num.format(states[4])); $("worstline").hidden = true;
    keys.forEach((b, j) => { b.lastElementChild.textContent = num.format(count[j]); }); stateKeys.forEach((b, j) => { b.lastElementChild.textContent = num.format(states[j]); });
    if (filtered()) filter(false);
  }, 60);
}
function now24() {
  asked++; past = false; document.body.classList.remove("past"); $("now").hidden = true; travel.value = DAY; set("when", "now"); travel.setAttribute("aria-valuetext", "now");
  p.delete("at"); history.replaceState(null, "", location.pathname + (p.size ? "?" + p : ""));
  for (let i = 0; i < n; i++) { tile[i].classList.remove("unknown"); put(i, state[i], levelOf(i, Date.now() - skew)); }
  paint(); if (filtered()) filter(false);
}
if (n) {
  travel.hidden = false; travel.addEventListener("input", go24); $("now").addEventListener("click", now24);
  if ($("foldall")) { $("foldall").hidden = false; $("foldall").addEventListener("click", foldAll); }
  regions.addEventListener("click", (e) => { const b = e.target.closest(".fold"); if (b) { const r = b.closest(".region"); fold(r, !r.classList.contains("folded")); folded(); } });
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input:not([type=range]), select, dialog")) return;
    if (e.key === "f") foldAll();
    if (e.key === "t") { if (p.has("tv")) p.delete("tv"); else p.set("tv", "1"); location.assign("/?" + p); }
    if (e.key === "[" || e.key === "]") { travel.value = +travel.value + (e.key === "[" ? -60 : 60); go24(); }
  });
  setInterval(calls, 5000);
  const then = +p.get("at"); if (then > 0) { travel.value = Math.max(0, DAY - Math.round((Date.now() - skew - then * 1e3) / 60e3)); go24(); }
}

if (n) {
  connect();
  setInterval(() => document.hidden || paint(), 1000);
  setInterval(() => document.hidden || sort(), 5000);
  setInterval(() => document.hidden || hist(true), 60000);
  onTheme(() => { pal = tones = undefined; paint(); hist(); draw(); });
  addEventListener("resize", () => { fit(); dots(Date.now() - skew); hist(); draw(); });
  filter(false); fit();
  document.fonts.ready.then(() => { paint(); performance.mark("ready"); fit(); hist(); const q = $("side").querySelector("[data-store]"), t = q && tiles.find((x) => x.textContent === q.dataset.store); if (t) { t.setAttribute("aria-current", "true"); shown = t; } draw(); });
} else {
  connect(); setInterval(stale, 1000);
}
