// Runs before the first paint: the theme that was chosen, if one was.
try { const t = localStorage.getItem("theme"); if (t === "light" || t === "dark") document.documentElement.dataset.theme = t; } catch { /* storage is off: the system decides */ }
