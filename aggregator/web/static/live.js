// How old what a page shows is, said in words on every page that follows something.
//
//   live     it is being kept up to date
//   held     it is alive, but the reader's hand is on it: no change is put in
//   lost     nothing has come for a while: numbers turn grey, and whole pages say since when
import { $, ago } from "./base.js";

const SAY = { live: "live", held: "held while you read, ", lost: "no data for " };
const clock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

// fresh says how old the page is: s seconds. A screen reader is told when that turns,
// not every second: the age stands in a part of the status that is not announced.
export function fresh(how, s, why = "") {
  const e = $("live"), bar = document.querySelector("header.bar"), lost = how === "lost";
  if (lost !== document.body.classList.contains("stale")) {
    document.body.classList.toggle("stale", lost);
    if (lost && bar) bar.dataset.asof = `What you see is as of ${clock.format(new Date(Date.now() - s * 1e3))}`; // in sight wherever one has scrolled to
  }
  if (!e) return;
  if (e.dataset.how !== how) {
    e.dataset.how = how;
    e.classList.toggle("lost", lost); e.classList.toggle("on", how === "live"); e.classList.toggle("held", how === "held");
    e.replaceChildren(SAY[how]);
    if (how !== "live") { const age = document.createElement("span"); age.setAttribute("aria-live", "off"); e.append(age); }
  }
  const age = e.querySelector("span"), text = ago(s) + (lost && why ? `: ${why}` : "");
  if (age && age.textContent !== text) age.textContent = text;
}

const RETRY = 2000, PATIENCE = 15000; // ms: between two tries where one failed; of an answer that is on its way

// keep asks again and again for what is shown: load(signal) puts it in, busy() tells
// that a change now would pull something from under the reader's hand. every and
// patience are in ms. It answers a function that asks now, whatever the reader does.
export function keep({ every, patience, load, busy }) {
  let last = performance.now(), heard = last, asked = 0, why = "", asking;
  const silent = (now) => now - heard > (why ? Math.min(patience, PATIENCE) : patience);
  const say = () => {
    const now = performance.now();
    fresh(silent(now) ? "lost" : now - last > patience ? "held" : "live", (now - last) / 1000, why);
  };
  async function alive() { // where nothing may be put in
    asked = performance.now();
    const r = await fetch("/ui/find", { method: "HEAD" }).catch(() => 0);
    if (r.ok) heard = performance.now();
    why = r.ok ? "" : reason(r);
  }
  async function ask(force) {
    if (document.hidden && !force) return;
    if (asking && !force && performance.now() - asked < PATIENCE) return;
    if (!force && busy()) { await alive(); return say(); }
    asking?.abort();
    const mine = asking = new AbortController();
    asked = performance.now();
    try {
      await load(mine.signal);
      last = heard = performance.now(); why = "";
    } catch (x) {
      if (mine !== asking) return; // somebody asked anew
      why = reason(x);
    }
    if (mine === asking) asking = undefined;
    say();
  }
  say();
  setInterval(ask, every);
  setInterval(() => { const now = performance.now(); say(); if ((why || silent(now)) && now - asked > RETRY) ask(); }, 1000);
  addEventListener("online", () => ask());
  document.addEventListener("visibilitychange", () => { if (!document.hidden && performance.now() - last > every) ask(); });
  return () => ask(true);
}

const reason = (x) => x.status ? `the aggregator answered ${x.status}` : "no answer from the aggregator";
