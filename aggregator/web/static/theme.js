// Runs before the first paint: says that scripts run, and the theme that was
// chosen, if one was.
document.documentElement.dataset.js = "1";
try { const t = localStorage.getItem("theme"); if (t === "light" || t === "dark") document.documentElement.dataset.theme = t; } catch { /* storage is off: the system decides */ }
