// The map of where you are; a click goes there.

import { $ } from "./page.js";

export function startMap(picture, went) {
  const image = $("mapimage");
  const box = () => {
    const frame = image.getBoundingClientRect();
    const share = Math.min(frame.width / picture.photo.width, frame.height / picture.photo.height);
    const wide = picture.photo.width * share, high = picture.photo.height * share;
    return { left: (frame.width - wide) / 2, top: (frame.height - high) / 2, wide, high, frame };
  };
  const draw = () => {
    if (!picture.photo || !image.clientWidth) return;
    const { left, top, wide, high } = box();
    const at = picture.place();
    const [rect, cross, dot] = [$("mapmarks").querySelector("rect"), $("mapmarks").querySelector("path"), $("mapmarks").querySelector("circle")];
    const part = { w: at.wide / picture.photo.width, h: at.high / picture.photo.height };
    const x = left + at.x * wide, y = top + at.y * high;
    const w = Math.min(1.2, part.w) * wide, h = Math.min(1.2, part.h) * high;
    for (const [key, value] of Object.entries({ x: x - w / 2, y: y - h / 2, width: w, height: h })) rect.setAttribute(key, value);
    const tiny = w < 14;
    rect.style.display = tiny ? "none" : "";
    cross.setAttribute("d", tiny ? `M${x} ${top}V${y - 6}M${x} ${y + 6}V${top + high}M${left} ${y}H${x - 6}M${x + 6} ${y}H${left + wide}` : "");
    dot.style.display = tiny ? "" : "none";
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
  };
  const go = (event) => {
    const { left, top, wide, high, frame } = box();
    const x = (event.clientX - frame.left - left) / wide, y = (event.clientY - frame.top - top) / high;
    if (x >= 0 && x <= 1 && y >= 0 && y <= 1) went({ x, y });
  };
  let dragging = false;
  $("map").addEventListener("pointerdown", (event) => { dragging = true; go(event); });
  $("map").addEventListener("pointermove", (event) => { if (dragging) go(event); });
  addEventListener("pointerup", () => { dragging = false; });
  image.addEventListener("load", draw);
  picture.addEventListener("moved", draw);
  addEventListener("resize", draw);
  return draw;
}
