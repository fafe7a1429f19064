// Where and what is shown, kept in the address: a link brings another person to the same place and picture.

export const defaults = { photo: "", x: 0.5, y: 0.5, z: 0, prompt: "", seed: 0, consistency: null, preset: "", mix: 100 };

const number = (text, fallback, low, high) => {
  const value = Number(text);
  return text !== null && text !== "" && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
};

export function read(hash = location.hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    photo: /^[0-9a-f]{1,64}$/.test(given.get("photo") ?? "") ? given.get("photo") : "",
    x: number(given.get("x"), 0.5, 0, 1),
    y: number(given.get("y"), 0.5, 0, 1),
    z: number(given.get("z"), 0, 0, 1024),
    prompt: (given.get("prompt") ?? "").slice(0, 500),
    seed: Math.round(number(given.get("seed"), 0, 0, 2 ** 48 - 1)),
    consistency: given.has("consistency") ? number(given.get("consistency"), null, 0, 1) : null,
    preset: (given.get("preset") ?? "").slice(0, 100),
    mix: number(given.get("mix"), 100, 0, 100),
  };
}

export function write(state) {
  const told = new URLSearchParams({ photo: state.photo });
  if (state.z) {
    told.set("x", state.x.toFixed(7));
    told.set("y", state.y.toFixed(7));
    told.set("z", Number(state.z.toPrecision(6)));
  }
  for (const key of ["prompt", "seed", "consistency", "preset", "mix"]) {
    if (state[key] !== defaults[key] && state[key] !== null && state[key] !== "") told.set(key, state[key]);
  }
  history.replaceState(null, "", `#${told}`);
}
