// The controls: words, evidence and invention, and how the picture is made. Changes of the last kind open another view.

import { get } from "./api.js";
import { $, element, later } from "./page.js";

export function startPanel(state, { chosen, mixed }) {
  const percent = (value) => `${Math.round(value)} %`;
  const change = later(250, () => chosen());
  $("promptform").addEventListener("submit", (event) => {
    event.preventDefault();
    state.prompt = $("prompt").value.trim();
    chosen();
  });
  $("seed").addEventListener("change", () => {
    state.seed = Math.min(2 ** 48 - 1, Math.max(0, Math.round(Number($("seed").value) || 0)));
    $("seed").value = state.seed;
    chosen();
  });
  $("dice").addEventListener("click", () => {
    state.seed = $("seed").value = Math.floor(Math.random() * 1e6);
    chosen();
  });
  $("consistency").addEventListener("input", () => {
    state.consistency = Number($("consistency").value) / 100;
    $("consout").textContent = percent($("consistency").value);
    change();
  });
  $("preset").addEventListener("change", () => {
    state.preset = $("preset").value;
    state.consistency = null;
    chosen();
  });
  $("mix").addEventListener("input", () => {
    state.mix = Number($("mix").value);
    show();
    mixed(state.mix / 100);
  });
  const show = () => {
    $("prompt").value = state.prompt;
    $("seed").value = state.seed;
    $("mix").value = state.mix;
    $("mixout").textContent = state.mix === 100 ? "" : percent(state.mix);
    $("mix").setAttribute("aria-valuetext", `${percent(state.mix)} of what was made up is shown`);
    if (state.consistency !== null) {
      $("consistency").value = state.consistency * 100;
      $("consout").textContent = percent(state.consistency * 100);
    }
  };
  return { show };
}

export async function fillPresets(state) {
  const presets = await get("/presets");
  $("preset").replaceChildren(...presets.map((preset) => element("option", preset.missing ? `${preset.name} (not installed)` : preset.name, {
    value: preset.name, disabled: Boolean(preset.missing), title: preset.missing || preset.description,
  })));
  $("preset").value = state.preset || presets[0].name;
}

// What the record says of the view: which controls do anything.
export function showFacts(record) {
  const { facts, settings } = record;
  $("consistency").value = settings.consistency * 100;
  $("consout").textContent = `${Math.round(settings.consistency * 100)} %`;
  $("prompthint").textContent = facts.uses_prompt ? "Added to what is recognised; the view is made again." : "This preset does not listen to words: they are shown, and change no pixel.";
  $("seedhint").textContent = facts.stochastic ? "Another seed invents other detail." : "This preset invents nothing by chance: every seed gives the same picture.";
  $("dice").disabled = $("seed").disabled = !facts.stochastic;
  $("preset").title = `${record.preset}: ${facts.name}`;
}

export function showWords(words) {
  if (words === null) {
    $("said").textContent = "Zoom past 1x to see words.";
    return;
  }
  const parts = words.tags.length ? words.tags.map(([word]) => word) : words.text.split(/,\s*/).filter(Boolean);
  $("said").replaceChildren(...(parts.length ? parts.slice(0, 12).map((word) => element("b", word)) : [element("span", "Nothing is recognised here.")]));
}
