// Joins the parts: the address decides what is open, moving and choosing change the address.

import { call, get, post } from "./api.js";
import { listPhotos, startDropping } from "./gallery.js";
import { startFilm } from "./film.js";
import { startMap } from "./map.js";
import { $, download, later, scaleText, toast } from "./page.js";
import { fillPresets, showFacts, showWords, startPanel } from "./panel.js";
import { Picture } from "./picture.js";
import { showRecord } from "./record.js";
import * as states from "./state.js";
import { startTheme } from "./theme.js";
import { startWipe } from "./wipe.js";

const state = states.read();
let picture, wipe, film, drawMap, panel;
let view = null;
let facts = null;
let asking = null;

const phone = () => matchMedia("(max-width: 720px)").matches;

function controls(open, focus = false) {
  $("viewer").classList.toggle("open", open);
  $("toggle").setAttribute("aria-expanded", String(open));
  requestAnimationFrame(() => drawMap?.());
  if (open && focus) $("controls").focus();
}

async function showGallery(fresh = false) {
  view = null;
  picture?.loader.clear();
  $("viewer").hidden = true;
  $("gallery").hidden = false;
  document.title = "chainzoom";
  if (!fresh) await listPhotos();
}

async function showPhoto() {
  $("gallery").hidden = true;
  $("viewer").hidden = false;
  if (!picture) startViewer();
  wipe.off();
  film.close();
  let photo;
  try {
    photo = await get(`/photos/${state.photo}`);
  } catch (error) {
    toast(error.message, 8);
    state.photo = "";
    location.hash = "";
    return showGallery();
  }
  const wanted = { ...state };
  await picture.show(photo);
  picture.go(wanted, true);
  picture.setMix(state.mix / 100);
  $("name").textContent = document.title = photo.name;
  $("stage").setAttribute("aria-label", `${photo.name}, zoomable picture`);
  $("mapimage").src = `/api/photos/${photo.id}/thumbnail.png?side=480`;
  $("mapimage").alt = `Map of ${photo.name}`;
  panel.show();
  await Promise.all([openView(), fillPresets(state)]);
}

async function openView() {
  const { photo, preset, prompt, seed, consistency } = state;
  remember();
  try {
    const opened = await post("/views", { photo, preset: preset || null, prompt, seed, consistency });
    if (photo !== state.photo) return;
    view = opened.id;
    facts = null;
    const record = get(`/views/${view}`);
    await picture.synthesise(view);
    const told = await record;
    if (told && opened.id === view) {
      facts = told;
      showFacts(told);
      moved();
      words();
    }
  } catch (error) {
    toast(error.message, 12);
  }
}

function moved() {
  const { z } = picture.place();
  const made = z > 1.02;
  $("scale").dataset.kind = made ? "made" : "real";
  const text = scaleText(z);
  const since = facts?.synthesised_from ?? 4;
  const kind = !made ? "real pixels" : z < since ? "synthesised" : `synthesised since ${since}x`;
  if ($("scaletext").textContent !== `${text},`) $("scaletext").textContent = `${text},`;
  if ($("kind").textContent !== kind) $("kind").textContent = kind;
}

function remember() {
  if (!picture?.photo || picture.photo.id !== state.photo) return;
  Object.assign(state, (({ x, y, z }) => ({ x, y, z }))(picture.place()));
  states.write(state);
}

const words = later(350, async () => {
  asking?.abort();
  const { x, y, z, top } = picture.place();
  if (!view || z <= 1.02 || x < 0 || x > 1 || y < 0 || y > 1) {
    showWords(null);
    return;
  }
  asking = new AbortController();
  try {
    const at = `x=${(x * picture.photo.width).toFixed(2)}&y=${(y * picture.photo.height).toFixed(2)}&scale=${Math.min(z, top)}`;
    showWords(await get(`/views/${view}/words?${at}`, { signal: asking.signal }));
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 499 && error.status !== 429) showWords(null);
  }
});

async function save() {
  const { left, upper, wide, high, z, top } = picture.place();
  const scale = Math.min(z, top, 4096 / Math.max(wide, high));
  toast("Saving this view", 60);
  try {
    const asked = `x=${left}&y=${upper}&width=${Math.round(wide * scale)}&height=${Math.round(high * scale)}&scale=${scale}`;
    const response = await call(`/views/${view}/picture.png?${asked}`);
    download(await response.blob(), `${picture.photo.name.replace(/^.*\/|\.\w+$/g, "")}-${scaleText(scale)}.png`);
    toast("Saved. The file says where its pixels come from.");
  } catch (error) {
    toast(error.message, 8);
  }
}

async function share() {
  remember();
  try {
    await navigator.clipboard.writeText(location.href);
    toast("The link is copied. It leads to this place and this picture.");
  } catch {
    toast(`Copy this link: ${location.href}`, 15);
  }
}

const record = () => view && showRecord(view, picture.place()).catch((error) => toast(error.message));
const scales = { 1: 1, 2: 4, 3: 16, 4: 64, 5: 256 };
const keys = {
  ArrowLeft: () => picture.panBy(-0.2, 0), ArrowRight: () => picture.panBy(0.2, 0), ArrowUp: () => picture.panBy(0, -0.2), ArrowDown: () => picture.panBy(0, 0.2),
  "+": () => picture.zoomBy(1.6), "=": () => picture.zoomBy(1.6), "-": () => picture.zoomBy(1 / 1.6), 0: () => picture.go({ z: 0 }),
  b: () => wipe.toggle(), p: () => { controls(true); $("prompt").focus(); }, c: () => controls(!$("viewer").classList.contains("open"), true),
  l: share, s: save, f: () => $("film").click(), r: record, "?": () => $("helpdialog").showModal(),
};

function startViewer() {
  controls(!phone()); // first: the picture must know how much room it has
  picture = new Picture($("stage"));
  window.chainzoomPicture = picture;
  wipe = startWipe(picture);
  film = startFilm(picture, () => view);
  panel = startPanel(state, { chosen: openView, mixed: (share_) => { picture.setMix(share_); remember(); } });
  const jump = ({ x, y }) => picture.go({ ...picture.place(), x, y });
  drawMap = startMap(picture, jump);
  let lost = 0;
  picture.addEventListener("moved", moved);
  picture.addEventListener("rested", () => { remember(); words(); });
  picture.addEventListener("awaited", ({ detail }) => {
    $("work").hidden = detail === 0;
    $("worktext").textContent = facts === null ? "Loading the preset" : `Sharpening: ${detail} ${detail === 1 ? "tile" : "tiles"} to go`;
  });
  picture.addEventListener("trouble", ({ detail }) => {
    // A server that was started again has forgotten the view; opening it anew is enough.
    if (detail.status === 404 && performance.now() - lost > 3000) {
      lost = performance.now();
      openView();
    } else if (detail.status !== 404) toast(detail.text, 8);
  });
  for (const [id, act] of Object.entries({
    in: keys["+"], out: keys["-"], home: keys[0], toggle: () => controls(!$("viewer").classList.contains("open")), share, save, record,
    help: keys["?"], back: () => { location.hash = ""; },
  })) $(id).addEventListener("click", act);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the place, not the element
    controls(true, true);
  });
  document.addEventListener("keydown", (event) => {
    if ($("viewer").hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea, pre, [role=slider]")) {
      if (event.key === "Escape") $("stage").focus();
      return;
    }
    if (event.key === "Escape" && phone()) controls(false);
    if (/^Arrow/.test(event.key) && event.target.closest("#controls")) return;
    const act = scales[event.key] ? () => picture.go({ ...picture.place(), z: scales[event.key] }) : keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
}

async function follow() {
  const asked = states.read();
  const same = picture?.photo && asked.photo === picture.photo.id && !$("viewer").hidden;
  Object.assign(state, asked);
  if (!state.photo) return showGallery();
  if (!same) return showPhoto();
  panel.show();
  picture.go(asked);
  picture.setMix(state.mix / 100);
  return openView();
}

async function start() {
  startTheme($("theme"));
  startDropping((id) => { location.hash = `photo=${id}`; });
  addEventListener("hashchange", () => follow().catch((error) => toast(error.message)));
  if (!window.OpenSeadragon) {
    toast("OpenSeadragon is missing: run python -m chainzoom.viewer.vendor", 600);
    return;
  }
  const photos = state.photo ? null : await listPhotos();
  if (photos?.length === 1) state.photo = photos[0].id;
  $("back").hidden = photos?.length === 1;
  if (state.photo) await showPhoto();
  else await showGallery(photos !== null);
}

start().catch((error) => toast(error.message, 60));
