// The photos of the folder and the uploads.

import { get, upload } from "./api.js";
import { $, element, toast } from "./page.js";

let listed = "";

export async function listPhotos() {
  const photos = await get("/photos");
  $("empty").hidden = photos.length > 0;
  const told = JSON.stringify(photos.map(({ id, name }) => [id, name]));
  if (told === listed) return photos; // drawing the same links anew would lose a click between press and release
  listed = told;
  $("photos").replaceChildren(...photos.map((photo) => {
    const item = element("li");
    const link = element("a", "", { href: `#photo=${photo.id}` });
    const frame = element("div");
    frame.append(element("img", "", { src: `/api/photos/${photo.id}/thumbnail.png`, alt: "", loading: "lazy" }));
    link.append(frame, element("span", photo.name));
    item.append(link);
    return item;
  }));
  return photos;
}

// Several files may come; the first good one is opened.
export async function takeFiles(files, open) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?|avif)$/i.test(file.name));
  if (!pictures.length) {
    toast("That is no picture. Drop a JPEG, PNG, TIFF, WebP, AVIF or HEIC file.");
    return;
  }
  let first = null;
  for (const [number, file] of pictures.entries()) {
    toast(`Reading ${file.name} (${number + 1} of ${pictures.length})`, 60);
    try {
      const entry = await upload(file);
      first ??= entry;
    } catch (error) {
      toast(error.message, 8);
      if (number + 1 === pictures.length && !first) return;
    }
  }
  $("toast").hidden = true;
  await listPhotos();
  if (first) open(first.id);
}

export function startDropping(open) {
  let depth = 0;
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (holds(event)) { depth += 1; $("drop").hidden = false; event.preventDefault(); } });
  addEventListener("dragover", (event) => { if (holds(event)) event.preventDefault(); });
  addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); $("drop").hidden = depth === 0; });
  addEventListener("drop", (event) => {
    depth = 0;
    $("drop").hidden = true;
    if (holds(event)) {
      event.preventDefault();
      takeFiles(event.dataTransfer.files, open);
    }
  });
  $("file").addEventListener("change", () => takeFiles($("file").files, open).finally(() => { $("file").value = ""; }));
}
