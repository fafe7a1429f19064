// Small things that every part of the page uses.

export const $ = (id) => document.getElementById(id);

export function element(tag, text = "", attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  if (text) made.textContent = text;
  return made;
}

let hiding;
export function toast(text, seconds = 5) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("toast").hidden = true; }, seconds * 1000);
}

export const later = (ms, act) => {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), ms);
  };
};

export const scaleText = (scale) => `${scale >= 9.95 ? Math.round(scale) : scale >= 0.995 ? Number(scale.toFixed(1)) : Number(scale.toPrecision(2))}x`;

export function download(blob, name) {
  const link = element("a", "", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30000);
}
