// Before and after: left of the bar what is synthesised, right of it plain bicubic enlargement.

import { $ } from "./page.js";

export function startWipe(picture) {
  let position = 0.5;
  let on = false;
  const draw = () => {
    const percent = Math.round(position * 100);
    for (const part of [$("wipebar"), ...$("wipe").querySelectorAll("b")]) part.style.left = `${position * 100}%`;
    $("wipebar").setAttribute("aria-valuenow", percent);
    $("wipebar").setAttribute("aria-valuetext", `${percent} percent of the width is synthesised`);
    if (on) picture.setWipe(position);
  };
  const move = (event) => {
    const frame = $("wipe").getBoundingClientRect();
    position = Math.min(0.98, Math.max(0.02, (event.clientX - frame.left) / frame.width));
    draw();
  };
  $("wipebar").addEventListener("pointerdown", (event) => {
    $("wipebar").setPointerCapture(event.pointerId);
    $("wipebar").addEventListener("pointermove", move);
    $("wipebar").focus();
    event.preventDefault();
  });
  $("wipebar").addEventListener("lostpointercapture", () => $("wipebar").removeEventListener("pointermove", move));
  $("wipebar").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1 }[event.key];
    if (!step) return;
    position = Math.min(0.98, Math.max(0.02, position + step));
    draw();
    event.preventDefault();
    event.stopPropagation();
  });
  picture.addEventListener("moved", () => { if (on) picture.setWipe(position); });
  const set = (wanted) => {
    on = wanted;
    $("compare").checked = on;
    $("wipe").hidden = !on;
    if (on) draw();
    else picture.setWipe(null);
  };
  $("compare").addEventListener("change", () => set($("compare").checked));
  return { toggle: () => set(!on), off: () => set(false) };
}
