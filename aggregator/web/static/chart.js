// Curves of a store or a connection, drawn by uPlot, which is fetched when the first is needed.
import { tone, ago, num, onTheme } from "./base.js";
let lib;
const plot = () => lib ??= import("./vendor/uplot-1.6.32.js").then((m) => m.default, () => { lib = undefined; }); // cut off: the next drawing asks anew
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const alpha = (c, a) => { const g = document.createElement("canvas").getContext("2d", { willReadFrequently: true }); g.canvas.width = g.canvas.height = 1; g.fillStyle = c; g.fillRect(0, 0, 1, 1); const [r, q, b] = g.getImageData(0, 0, 1, 1).data; return `rgb(${r} ${q} ${b} / ${a})`; };

const STEP = [[1, "1 s"], [60, "1 min"], [3600, "1 h"], [86400, "1 d"], [864000, "10 d"], [8640000, "100 d"]];
const lagScale = (max) => ({ ...lagAxis(Math.max(100, max * 1.6)), say: (v) => v <= 1 ? "current" : ago(v) + " behind" });
function lagAxis(top) { const t = STEP.filter(([s]) => s <= top * .8); return { scale: { distr: 3, range: [1, top] }, splits: t.map(([s]) => s), label: t.map(([, l]) => l) }; }
const countScale = (word) => (max) => ({ scale: { range: [0, Math.max(10, max * 1.15)] }, say: (v) => num.format(v) + word });

// KINDS of series: what is read of a history, how it is scaled and worded.
const KINDS = {
  lag: { name: "Lag", of: (h) => h.lag_s.map((v) => v === null ? v : Math.max(1, v)), scale: lagScale, tone: "--accent" },
  backlog: { name: "Backlog", of: (h) => h.backlog, scale: countScale(" waiting"), tone: "--curve2" },
  rate: { name: "What passed", of: (h) => h.per_min, scale: countScale(" a minute"), tone: "--curve3" },
};

export async function curve(host, h, what) {
  const uPlot = await plot();
  if (!uPlot) return;
  const kind = KINDS[what], data = kind.of(h), seen = data.filter((v) => v !== null), most = Math.max(0, ...seen), k = kind.scale(most);
  const soft = tone("--soft"), line = tone("--line"), acc = tone(kind.tone);
  host._plot?.destroy(); host.replaceChildren();
  const read = document.createElement("p"); read.className = "read"; read.setAttribute("aria-hidden", "true");
  host._plot = new uPlot({
    width: Math.max(200, host.clientWidth), height: +host.dataset.height || 150, padding: [14, 18, 0, 0], legend: { show: false }, cursor: { y: false, points: { size: 7 } },
    scales: { y: k.scale }, hooks: { setCursor: [(u) => { const i = u.cursor.idx; read.textContent = i == null || data[i] === null ? "" : `${clock.format(new Date(h.t[i] * 1e3))}  ${k.say(data[i])}`; }] },
    axes: [{ stroke: soft, font: "11px Inter", size: 26, grid: { show: false }, ticks: { show: false }, space: 70, values: (u, v) => v.map((t) => clock.format(new Date(t * 1e3))) },
      { stroke: soft, font: "11px Inter", size: 46, ticks: { show: false }, grid: { stroke: line, width: 1 }, ...(k.splits ? { splits: () => k.splits, values: () => k.label } : { space: 34, values: (u, v) => v.map((x) => x >= 1e4 ? `${x / 1e3}k` : num.format(x)) }) }],
    series: [{}, { stroke: acc, width: 1.75, fill: alpha(acc, .1), points: { show: h.t.length < 3 } }],
  }, [h.t, data], host);
  host.append(read);
  host.setAttribute("role", "img"); host.setAttribute("aria-label", `${kind.name} over ${ago(h.t.at(-1) - h.t[0])}: least ${k.say(Math.min(...seen))}, now ${k.say(seen.at(-1))}, most ${k.say(most)}`);
  host.querySelector("canvas").setAttribute("aria-hidden", "true");
}

// follow draws charts of what url() answers, every so many ms, in another theme and width
// too. empty is shown while there is nothing to draw. It answers a function that does so now.
export function follow(hosts, url, every, empty) {
  let kept;
  const lines = async (again = true) => {
    if (document.hidden) return;
    try { if (again || !kept) { const r = await fetch(url()); if (!r.ok) return; kept = await r.json(); } } catch { return; } // the page says that nothing comes
    empty.hidden = kept.t.length > 1;
    if (kept.t.length > 1) for (const c of hosts) await curve(c, kept, c.dataset.series);
  };
  document.fonts.ready.then(() => lines());
  setInterval(lines, every);
  onTheme(() => lines(false)); addEventListener("resize", () => lines(false));
  return lines;
}
