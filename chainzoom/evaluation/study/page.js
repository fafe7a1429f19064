"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const names = ["", "bad", "poor", "fair", "good", "excellent"];
  const ask = {
    image: ["How good is each zoom?", "Look for pictures that are sharp and natural at every scale, free of artefacts, and could really be what the photo shows."],
    text: ["How well do the words fit?", "Look for words that say what is there, or what one would plausibly see coming closer, without errors and repetition."],
  };
  const $ = (id) => document.getElementById(id);
  const codes = Object.keys(data.orders);
  let rater = null, state = null, screens = [], active = 0, since = 0, keeps = true, view = null;

  // Storage: may be forbidden, then everything lives in memory.
  const key = () => "chainzoom-study:" + data.study + ":" + rater;
  function load() {
    const fresh = { at: 0, scores: {}, seconds: {}, started: null, finished: null };
    try {
      localStorage.setItem("chainzoom-study", "1");
      const kept = JSON.parse(localStorage.getItem(key()) || "null");
      return kept && typeof kept.scores === "object" ? Object.assign(fresh, kept) : fresh;
    } catch (error) { keeps = false; return fresh; }
  }
  function save() { try { localStorage.setItem(key(), JSON.stringify(state)); } catch (error) { keeps = false; } }

  function address(number) { return "data:image/webp;base64," + $("picture-" + number).textContent; }
  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function show(name) { for (const id of ["start", "rating", "finish"]) $(id).hidden = id !== name; window.scrollTo({ top: 0, behavior: "instant" }); }
  const items = () => screens[state.at].items;
  const scored = (screen) => screen.items.filter((item) => state.scores[item.id]).length;
  const total = () => screens.reduce((sum, screen) => sum + screen.items.length, 0);
  const given = () => screens.reduce((sum, screen) => sum + scored(screen), 0);

  // Start
  function enter() {
    const wanted = decodeURIComponent(location.hash.slice(1)).trim().toUpperCase();
    rater = codes.length === 1 ? codes[0] : codes.includes(wanted) ? wanted : null;
    $("code-form").hidden = Boolean(rater);
    $("how").hidden = !rater;
    show("start");
    if (!rater) {
      $("code-error").textContent = wanted ? "There is no code " + wanted + " in this study; please check it." : "";
      $("code").focus();
      $("minutes").textContent = minutes(Object.values(data.orders)[0]);
      return;
    }
    screens = data.orders[rater].map(([set, order]) => Object.assign({}, data.sets[set], { items: order.map((k) => data.sets[set].items[k]) }));
    state = load();
    state.at = Math.min(Math.max(0, state.at | 0), screens.length - 1);
    $("minutes").textContent = minutes(data.orders[rater]);
    $("no-storage").hidden = keeps;
    const begun = given() > 0;
    $("begin").textContent = begun ? "Continue" : "Begin";
    $("resume").textContent = begun ? given() + " of " + total() + " scores are kept from before" : "";
    $("begin").focus();
  }
  function minutes(order) {
    const count = Math.round(order.reduce((sum, one) => sum + one[1].length, 0) * 0.2);
    return count > 1 ? count + " minutes" : "a minute";
  }

  // One set
  function open(at) {
    clock();
    state.at = at;
    save();
    const screen = screens[at];
    show("rating");
    $("question").textContent = ask[screen.kind][0];
    $("hint").textContent = ask[screen.kind][1];
    $("where").textContent = "Set " + (at + 1) + " of " + screens.length;
    $("whole").onload = () => frame(screen.box);
    $("whole").src = address(screen.whole);
    $("closest").src = address(screen.closest);
    $("items").replaceChildren(...screen.items.map((item, row) => card(screen, item, row)));
    $("back").style.visibility = "";
    refresh();
    const first = screen.items.findIndex((item) => !state.scores[item.id]);
    select(first < 0 ? 0 : first, false);
    $("question").focus({ preventScroll: true });
    since = Date.now();
  }
  function frame([x0, y0, x1, y1]) {
    // A deep zoom's place is smaller than a pixel here: the frame about it stays large enough to be seen.
    const image = $("whole"), least = 20;
    const w = Math.min(1, Math.max(x1 - x0, least / image.clientWidth)), h = Math.min(1, Math.max(y1 - y0, least / image.clientHeight));
    for (const id of ["dark", "light"]) {
      $(id).setAttribute("x", Math.min(Math.max((x0 + x1 - w) / 2, 0), 1 - w));
      $(id).setAttribute("y", Math.min(Math.max((y0 + y1 - h) / 2, 0), 1 - h));
      $(id).setAttribute("width", w);
      $(id).setAttribute("height", h);
    }
  }
  function card(screen, item, row) {
    const letter = String.fromCharCode(65 + row);
    let body;
    if (screen.kind === "image") {
      body = make("ul", { class: "tiles n" + item.content.length });
      item.content.forEach(([scale, number], column) => {
        const image = make("img", { alt: letter + " at " + scale });
        image.src = address(number);
        const button = make("button", { type: "button", tabindex: "-1" }, image, scale);
        button.addEventListener("click", () => { select(row, false); look(row, column); });
        body.append(make("li", {}, button));
      });
    } else {
      body = make("dl", { class: "words" });
      for (const [scale, words] of item.content) body.append(make("dt", {}, scale), make("dd", {}, words));
    }
    const scores = make("fieldset", { class: "scores" }, make("legend", {}, "Score of " + letter));
    for (let value = 1; value <= 5; value++) {
      const input = make("input", { type: "radio", name: "score-" + row, value: value });
      input.checked = state.scores[item.id] === value;
      input.addEventListener("change", () => score(row, value, false));
      input.addEventListener("focus", () => select(row, false));
      scores.append(make("label", {}, input, make("b", {}, String(value)), make("span", {}, names[value])));
    }
    const section = make("section", { class: "item " + screen.kind, "aria-label": letter }, make("p", { class: "letter", "aria-hidden": "true" }, letter), body, scores);
    return section;
  }
  function select(row, scroll) {
    active = row;
    [...$("items").children].forEach((node, k) => node.classList.toggle("active", k === row));
    if (scroll) $("items").children[row].scrollIntoView({ block: "nearest" });
  }
  function score(row, value, move) {
    const item = items()[row];
    state.scores[item.id] = value;
    state.started = state.started || new Date().toISOString();
    clock();
    save();
    const node = $("items").children[row];
    node.querySelector("input[value='" + value + "']").checked = true;
    refresh();
    let said = String.fromCharCode(65 + row) + ": " + value + ", " + names[value] + ".";
    if (move) {
      const count = items().length;
      const order = [...Array(count).keys()].map((k) => (row + 1 + k) % count);
      const next = order.find((k) => !state.scores[items()[k].id]);
      if (next === undefined) { said += " Set complete."; if (!view) $("next-below").focus({ preventScroll: false }); }
      else { select(next, true); said += " Now " + String.fromCharCode(65 + next) + "."; if (!view) focusRow(next); }
    }
    $("said").textContent = said;
  }
  function focusRow(row) {
    const inputs = [...$("items").children[row].querySelectorAll("input")];
    (inputs.find((input) => input.checked) || inputs[0]).focus({ preventScroll: true });
  }
  function refresh() {
    const screen = screens[state.at], left = screen.items.length - scored(screen), last = state.at === screens.length - 1;
    [...$("items").children].forEach((node, k) => node.classList.toggle("scored", Boolean(state.scores[screen.items[k].id])));
    for (const id of ["next", "next-below"]) {
      $(id).setAttribute("aria-disabled", String(left > 0));
      $(id).firstChild.textContent = last ? "Finish" : "Next";
    }
    $("left").textContent = left ? (left === 1 ? "1 row" : left + " rows") + " still to score" : "";
    $("done").max = total();
    $("done").value = given();
  }
  function next() {
    const missing = items().findIndex((item) => !state.scores[item.id]);
    if (missing >= 0) {
      select(missing, true);
      focusRow(missing);
      $("said").textContent = String.fromCharCode(65 + missing) + " is not scored yet.";
    } else if (state.at + 1 < screens.length) open(state.at + 1);
    else {
      const open_set = screens.findIndex((screen) => scored(screen) < screen.items.length);
      if (open_set >= 0) open(open_set); else finish();
    }
  }
  function back() { if (state.at > 0) open(state.at - 1); else { clock(); enter(); } }
  function clock() {
    if (since && state && screens.length) {
      const id = screens[state.at].id;
      state.seconds[id] = Math.round(((state.seconds[id] || 0) + (Date.now() - since) / 1000) * 10) / 10;
    }
    since = $("rating").hidden ? 0 : Date.now();
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clock(); since = 0; if (state) save(); } else if (state && !$("rating").hidden) since = Date.now();
  });

  // Large picture
  function look(row, column) {
    if (screens[state.at].kind !== "image") return;
    const content = items()[row].content;
    view = [row, Math.min(Math.max(column, 0), content.length - 1)];
    const [scale, number] = content[view[1]], value = state.scores[items()[row].id];
    $("large").src = address(number);
    $("large").alt = String.fromCharCode(65 + row) + " at " + scale;
    $("viewer-name").textContent = String.fromCharCode(65 + row) + " at " + scale + (value ? " · " + value + " " + names[value] : "");
    if (!$("viewer").open) $("viewer").showModal();
  }
  function move(down, right) {
    const row = (view[0] + down + items().length) % items().length;
    select(row, false);
    look(row, view[1] + right);
  }
  $("viewer").addEventListener("close", () => { view = null; select(active, true); focusRow(active); });
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
  $("close").addEventListener("click", () => $("viewer").close());
  for (const button of document.querySelectorAll("[data-move]")) {
    const [down, right] = button.dataset.move.split(",").map(Number);
    button.addEventListener("click", () => move(down, right));
  }

  // End
  function finish() {
    clock();
    state.finished = state.finished || new Date().toISOString();
    save();
    show("finish");
    const text = JSON.stringify({
      schema: "chainzoom.study.answers/1", study: data.study, rater: rater, complete: true, started: state.started, finished: state.finished,
      scores: state.scores, seconds: state.seconds,
    }, null, 1);
    $("count").textContent = total();
    $("text").value = text;
    $("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    $("download").setAttribute("download", "answers-" + rater + ".json");
    $("download").focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("rating").hidden) return;
    const arrows = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (/^[1-5]$/.test(event.key)) {
      event.preventDefault();
      const row = view ? view[0] : active;
      score(row, Number(event.key), true);
      if (view) look(active, view[1]);
    } else if (view && arrows[event.key]) { event.preventDefault(); move(...arrows[event.key]); }
    else if (event.key === "z" || event.key === "Z") { if (view) $("viewer").close(); else look(active, items()[active].content.length - 1); }
    else if (view) return;
    else if (event.key === "Backspace") { event.preventDefault(); back(); }
    else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) { event.preventDefault(); next(); }
  });
  $("code-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = $("code").value.trim().toUpperCase();
    if (codes.includes(wanted)) location.hash = wanted;
    else $("code-error").textContent = wanted ? "There is no code " + wanted + " in this study; please check it." : "Please type the code that came with your link.";
  });
  $("begin").addEventListener("click", () => { if (given() === total()) finish(); else open(state.at); });
  for (const id of ["next", "next-below"]) $(id).addEventListener("click", next);
  $("back").addEventListener("click", back);
  $("review").addEventListener("click", () => open(0));
  window.addEventListener("hashchange", enter);
  enter();
})();
