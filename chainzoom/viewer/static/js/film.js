// A zoom film from here to there: mark the start, go to the end, film.

import { call, get, post } from "./api.js";
import { $, toast } from "./page.js";

export function startFilm(picture, viewId) {
  let from = null;
  let job = null;
  let stream = null;
  const show = (text, ...visible) => {
    $("filmtext").textContent = text;
    for (const id of ["filmgo", "filmwhole", "filmprogress", "filmlink"]) $(id).hidden = !visible.includes(id);
    $("filmstop").textContent = visible.includes("filmlink") ? "Close" : "Cancel";
    $("filmbar").hidden = false;
    $("viewer").classList.add("filming");
  };
  const square = () => {
    const at = picture.place();
    return { x: at.left + at.wide / 2, y: at.upper + at.high / 2, side: Math.min(at.wide, at.high) };
  };
  const whole = () => ({ x: picture.photo.width / 2, y: picture.photo.height / 2, side: Math.max(picture.photo.width, picture.photo.height) });
  const close = () => {
    stream?.close();
    if (job) call(`/jobs/${job}`, { method: "DELETE" }).catch(() => {});
    job = stream = from = null;
    $("filmbar").hidden = true;
    $("viewer").classList.remove("filming");
  };
  const begin = async () => {
    try {
      const started = await post("/jobs/film", { view: viewId(), start: from, end: square() });
      job = started.id;
      follow(job);
    } catch (error) {
      toast(error.message);
    }
  };
  const follow = (id) => {
    show("The film is being made", "filmprogress");
    $("filmprogress").removeAttribute("value");
    stream = new EventSource(`/api/jobs/${id}/events`);
    stream.addEventListener("progress", (event) => {
      const { done, total, what } = JSON.parse(event.data);
      const share = total ? done / total : 0;
      $("filmprogress").value = what === "filming" ? 0.6 + 0.4 * share : 0.6 * share;
      $("filmtext").textContent = what === "filming" ? "Filming" : total ? `Painting view ${Math.min(done + 1, total)} of ${total}` : "Getting ready";
    });
    stream.addEventListener("done", () => {
      stream.close();
      job = null;
      $("filmlink").href = `/api/jobs/${id}/files/zoom.mp4`;
      show("The film is ready", "filmlink");
      $("filmlink").focus();
    });
    for (const end of ["failed", "cancelled"]) {
      stream.addEventListener(end, async () => {
        stream.close();
        const { error } = await get(`/jobs/${id}`);
        job = null;
        if (error) toast(error, 8);
        close();
      });
    }
  };
  $("filmgo").addEventListener("click", begin);
  $("filmwhole").addEventListener("click", () => { from = whole(); begin(); });
  $("filmstop").addEventListener("click", close);
  $("film").addEventListener("click", () => {
    if (job) return;
    from = square();
    show("The film starts here. Zoom to where it should end.", "filmgo", "filmwhole");
    $("filmgo").focus({ preventScroll: true });
  });
  return { close };
}
