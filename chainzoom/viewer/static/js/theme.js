// Light or dark: as the system says, until somebody chooses.

const root = document.documentElement;
const KEY = "chainzoom-theme";

export function startTheme(button) {
  let kept = null;
  try { kept = localStorage.getItem(KEY); } catch { /* private window: not kept */ }
  if (kept) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem(KEY, root.dataset.theme); } catch { /* not kept */ }
  });
}
