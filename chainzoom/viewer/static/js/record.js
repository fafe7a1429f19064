// The record: what decides every pixel of the picture.

import { get } from "./api.js";
import { $, element, scaleText } from "./page.js";

export async function showRecord(view, place) {
  const record = await get(`/views/${view}`);
  const { facts, settings, source } = record;
  const here = { shown: scaleText(place.z), region: [place.left, place.upper, place.left + place.wide, place.upper + place.high].map((v) => Number(v.toFixed(3))) };
  const rows = [
    ["Shown", place.z > 1.02 ? `${here.shown}: synthesised from ${record.synthesised_from}x on, no evidence of what was there` : `${here.shown}: the photo's own pixels`],
    ["Photo", `${source.name}, ${source.width} x ${source.height}, ${source.bits} bits`],
    ["SHA-256", source.sha256],
    ["Region", `${here.region.join(", ")} (photo pixels)`],
    ["Preset", record.preset],
    ["Made by", `${facts.name}${facts.runtime ? `, ${facts.runtime}` : ""}${facts.generative ? ", a generative model" : ""}`],
    ["Words by", record.prompter ?? "nobody"],
    ["Your words", facts.uses_prompt ? record.user_prompt || "none" : "not used by this preset"],
    ["Seed", facts.stochastic ? String(record.seed) : "not used by this preset"],
    ["Consistency", `${Math.round(settings.consistency * 100)} %`],
    ["Weights", facts.weights.map((one) => `${one.name} (${one.licence}), sha256 ${one.sha256.slice(0, 16)}…`).join("; ") || "none"],
    ["Identity", record.identity],
    ["Version", `chainzoom ${record.version}`],
  ];
  $("recordlist").replaceChildren(...rows.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
  $("recordjson").textContent = JSON.stringify({ here, ...record }, null, 2);
  $("recorddialog").showModal();
}
