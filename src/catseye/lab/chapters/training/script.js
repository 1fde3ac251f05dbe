// Chapter 6: a run watched while it learns. The numbers arrive as server-sent events from the ordinary `train`.

import { ask, calm, complain, latest, ready, watch } from "./api.js";
import { chart, short } from "./chart.js";
import { tries } from "./tries.js";
import { choices, count, el, format, get, paintMap, tint } from "./draw.js";

const RATES = [0.0003, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100];
const AUGMENTATIONS = [["none", "none"], ["shifts", "shifts"], ["strong", "shifts, turns, erasing"]];
const state = { lr: 0.1, optimizer: "sgd", augmentation: "none" };
const runs = [];
let facts = null;
let running = null;
let abort = null;
let recorded = null; // the recorded run, run 0
let playing = 0;

const drawLoss = chart(get("loss"));
const drawAccuracy = chart(get("accuracy"));
const percent = (share, digits = 1) => `${format(100 * share, digits)}%`;

function setRate(rate) {
  state.lr = rate;
  get("lr").value = RATES.indexOf(rate);
  get("lr").setAttribute("aria-valuetext", String(rate));
  get("lr-number").textContent = rate;
}

function chosenControls() {
  const whole = (id, low, high) => Math.min(high, Math.max(low, Math.round(get(id).valueAsNumber || low)));
  return { ...state, epochs: whole("epochs", 1, 100), seed: whole("seed", 0, 999999) };
}

// The command comes from the server, so that the page cannot show another run than it starts.
const preview = latest(() => ask("training/preview", chosenControls()), (answer) => { if (!running) get("command").textContent = answer.command; });

function start() {
  calm();
  if (playing) showEnd();
  const run = { number: runs.length, asked: chosenControls(), steps: [], epochs: [], last: null };
  run.title = `run ${run.number}: ${run.asked.optimizer}, ${run.asked.lr}${run.asked.augmentation === "none" ? "" : `, ${run.asked.augmentation}`}`;
  running = run;
  buttons();
  say("Reading the digits …");
  abort = watch("training/run", run.asked, {
    value: (event) => take(run, event),
    end: () => finish(run),
    refused: (error) => { run.refused = true; complain(error); },
  });
}

const quiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
const PLAYED_S = 12; // however long the recording took

/** Play the recording from its start: the same events as of a live run, at their own intervals. */
function play() {
  stopPlaying();
  Object.assign(recorded, { steps: [], epochs: [], last: null });
  chooseRuns(recorded);
  document.documentElement.dataset.playing = "yes";
  const events = recorded.events;
  const [from, to] = [events.find((one) => one.kind === "begin").at_s, events.findLast((one) => one.kind === "epoch").at_s];
  let next = 0;
  const began = performance.now();
  playing = setInterval(() => {
    const at = from + ((performance.now() - began) / 1000) * ((to - from) / PLAYED_S);
    while (next < events.length && (events[next].at_s <= at || at >= to)) takeRecorded(events[next++]);
    get("replay-progress").value = Math.min(1, (at - from) / (to - from));
    if (next >= events.length) stopPlaying();
  }, 60);
}

function stopPlaying() {
  clearInterval(playing);
  playing = 0;
  document.documentElement.dataset.playing = "no";
  get("replay").textContent = "Play it again";
}

function showEnd() {
  stopPlaying();
  Object.assign(recorded, { steps: [], epochs: [], last: null });
  const { events } = recorded;
  for (const event of events.filter((one) => one.kind === "epoch").slice(0, -1)) recorded.epochs.push(event);
  chooseRuns(recorded);
  for (const event of [events.findLast((one) => one.kind === "epoch"), events.at(-1)]) takeRecorded(event);
  get("replay-progress").value = 1;
}

function takeRecorded(event) {
  const tell = (text) => { get("recorded-says").textContent = text; };
  const whole = recorded.num_epochs;
  if (event.kind === "step") tell(`Epoch ${event.epoch} of ${whole}: loss ${format(event.loss, 3)}, ${percent(event.accuracy)} right while training`);
  else if (event.kind === "epoch") {
    recorded.epochs.push(event);
    look(recorded, event);
    curves();
    table();
  } else if (event.kind === "end") {
    recorded.last = event;
    const { made_on: on, versions } = recorded.from;
    tell(`${percent(event.accuracy)} of ${count(event.num_images)} test digits right, 95% interval ${percent(event.low)} to ${percent(event.high)}. Recorded on ${on} with catseye ${versions.catseye} and torch ${versions.torch}; every number is from that run. Start your own below and compare.`);
    table();
  }
}

function take(run, event) {
  if (event.kind === "wait") return;
  if (event.kind === "command") {
    runs.push(run);
    get("command").textContent = event.command;
    chooseRuns(run);
  } else if (event.kind === "begin") {
    Object.assign(run, { num_epochs: event.num_epochs, num_batches: event.num_batches });
    say("Learning …");
  } else if (event.kind === "step") {
    run.steps.push(event);
    get("progress").value = event.step / (run.num_epochs * run.num_batches);
    say(`Epoch ${event.epoch} of ${run.num_epochs}: loss ${format(event.loss, 3)}, ${percent(event.accuracy)} right while training, ${count(Math.round(event.images_per_s))} images a second`);
  } else if (event.kind === "epoch") {
    run.epochs.push(event);
    get("progress").value = event.row.epoch / run.num_epochs;
    look(run, event);
    curves();
    table();
  } else {
    run.last = event;
  }
}

/** Why the training loss is higher: what only training does, with this run's settings. */
async function explain(run) {
  const place = get("above");
  const { train_loss: train, val_loss: val } = run.epochs.at(-1).row;
  const why = run.reasons ??= await ask("training/reasons", run.asked);
  if (shown()[0] !== run) return;
  if (!run.marked) { run.marked = true; curves(); return; }
  const reasons = [
    why.smoothing ? `label smoothing of ${format(why.smoothing)} spreads the target, so the loss cannot fall below ${format(why.lowest_loss, 3)} (dotted line)` : null,
    why.augmentation !== "none" ? `it is measured on augmented images (${why.augmentation}), which are harder` : null,
    why.dropout ? `dropout switches off ${percent(why.dropout)} of the head’s inputs` : null,
    "it is the mean over an epoch in which the weights still changed, validation comes at its end",
  ].filter(Boolean);
  place.hidden = false;
  place.textContent = train > val
    ? `Why is the training loss (${format(train, 3)}) above the validation loss (${format(val, 3)})? Not because the network is better on new images: ${reasons.join("; ")}. None of this applies to validation.`
    : `Here the training loss (${format(train, 3)}) lies below the validation loss (${format(val, 3)}), although ${reasons.join("; ")}: it fits its training images better than new ones.`;
}

function finish(run) {
  running = null;
  abort = null;
  buttons();
  if (run.refused) return say("Nothing was started.");
  const { last } = run;
  if (last?.kind === "end") say(`Learned: ${percent(last.accuracy)} of ${count(last.num_images)} test digits right, 95% interval ${percent(last.low)} to ${percent(last.high)}. Chapter 4 can now show this network.`);
  else if (last?.kind === "failed") say(`It went wrong: ${last.error}.`);
  else say(`Stopped after ${run.epochs.length} ${run.epochs.length === 1 ? "epoch" : "epochs"}.`);
  curves();
  table();
  observe({ run, runs });
}

const say = (text) => { get("state").textContent = text; };

function buttons() {
  get("start").disabled = running !== null;
  get("stop").disabled = running === null;
  document.documentElement.dataset.training = running ? "yes" : "no";
}

/** Filters, guesses and confusion matrix after an epoch. */
function look(run, { filters, confusion, guesses, row }) {
  const first = run.epochs[0].filters;
  const largest = Math.max(...filters.flat(3).map(Math.abs));
  get("filters").replaceChildren(...filters.map((kernel, index) => {
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `filter ${index + 1}` });
    paintMap(canvas, kernel[0], { colours: "signed", low: -largest, high: largest });
    return canvas;
  }));
  const moved = Math.sqrt(filters.flat(3).reduce((sum, value, index) => sum + (value - first.flat(3)[index]) ** 2, 0));
  get("filters-say").textContent = `Orange is positive, blue negative; the largest weight is ${format(largest, 3)}. Since the first epoch they have moved by ${format(moved, 3)} (length of the difference).`;
  paintGuesses(guesses);
  paintConfusion(confusion);
  get("confusion-say").textContent = `After epoch ${row.epoch}, on ${count(confusion.flat().reduce((a, b) => a + b, 0))} validation digits: rows are the true digit, columns the guess. ${worst(confusion)}`;
}

const pixels = new Map();

async function paintGuesses(guesses) {
  const missing = guesses.map((one) => one.image).filter((number) => !pixels.has(number));
  if (missing.length) {
    const found = await ask("training/digits", { images: missing });
    missing.forEach((number, index) => pixels.set(number, found.pixels[index]));
  }
  get("guesses").replaceChildren(...guesses.map(({ image, truth, guess }) => {
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `a ${truth}, classified as ${guess}` });
    paintMap(canvas, pixels.get(image), { low: 0, high: 255 });
    return el("figure", { class: truth === guess ? "right" : "wrong" }, el("figcaption", { "aria-hidden": "true" }, String(guess)), canvas);
  }));
}

function paintConfusion(rows) {
  const largest = Math.max(...rows.flat(), 1);
  const head = el("tr", {}, el("td", { class: "corner" }), ...facts.classes.map((name) => el("th", { scope: "col" }, name)));
  const body = rows.map((row, truth) => el("tr", {}, el("th", { scope: "row" }, facts.classes[truth]), ...row.map((value, guess) => {
    const td = el("td", { class: value ? null : "none" }, value ? String(value) : "·");
    tint(td, value, largest);
    td.classList.toggle("plus", value > 0 && truth !== guess);
    td.classList.toggle("good", truth === guess);
    return td;
  })));
  get("confusion").replaceChildren(el("table", { class: "grid confusion" }, el("tbody", {}, head, ...body)));
}

function worst(rows) {
  let most = [0, 0, 0];
  rows.forEach((row, truth) => row.forEach((value, guess) => { if (truth !== guess && value > most[2]) most = [truth, guess, value]; }));
  return most[2] ? `The commonest mistake: a ${most[0]} is taken for a ${most[1]} (${most[2]} of them).` : "Not one is wrong.";
}

function shown() {
  const by = (id) => runs.find((run) => String(run.number) === get(id).value);
  return [by("one"), by("other")].filter(Boolean).filter((run, index, all) => all.indexOf(run) === index);
}

function curves() {
  const chosen = shown();
  const lines = (...pairs) => chosen.flatMap((run, index) => pairs.map(([key, kind, name]) => ({
    name: `${name}, ${run.number ? `run ${run.number}` : "recorded"}`, kind: `${kind}${index ? " beside" : ""}`, x: run.epochs.map((one) => one.row.epoch), y: run.epochs.map((one) => one.row[key] ?? NaN),
  })));
  const last = Math.max(1, ...chosen.map((run) => run.num_epochs ?? 1));
  const x = { label: "epoch", whole: true, min: last > 1 ? 1 : 0, max: last };
  drawLoss({ label: "Loss after each epoch", lines: lines(["train_loss", "b", "training"], ["val_loss", "a", "validation"]), x, y: { label: "loss", min: 0 }, marks: [{ y: Math.log(10), name: "guessing" }, ...(chosen[0]?.reasons?.smoothing ? [{ y: chosen[0].reasons.lowest_loss, name: "lowest possible in training" }] : [])] });
  if (chosen[0]?.epochs.length) explain(chosen[0]).catch(complain);
  drawAccuracy({ label: "Accuracy after each epoch", lines: lines(["train_accuracy", "b", "training"], ["val_accuracy", "a", "validation"]), x, y: { label: "right", min: 0, max: 1, percent: true } });
}

/** A wide table is scrolled with the arrow keys too. */
function scrolls(id, name) {
  for (const [key, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": name })) get(id).setAttribute(key, value);
}

function chooseRuns(run) {
  const before = get("one").value;
  const fill = (id, value, none) => {
    get(id).replaceChildren(none ? el("option", { value: "" }, "none") : "", ...runs.map((one) => el("option", { value: one.number }, one.title)));
    get(id).value = value;
  };
  fill("one", String(run.number), false);
  fill("other", before === String(run.number) ? "" : before, true);
  curves();
  table();
}

function table() {
  if (!runs.length) return;
  const best = (run) => Math.max(0, ...run.epochs.map((one) => one.row.val_accuracy));
  const rows = runs.map((run) => el("tr", {}, el("th", { scope: "row" }, run.number ? String(run.number) : "recorded"), el("td", {}, run.asked.optimizer), el("td", { class: "num" }, String(run.asked.lr)), el("td", {}, run.asked.augmentation),
    el("td", { class: "num" }, `${run.epochs.length} of ${run.asked.epochs}`), el("td", { class: "num" }, run.epochs.length ? format(run.epochs.at(-1).row.train_loss, 3) : "–"), el("td", { class: "num" }, run.epochs.length ? percent(best(run)) : "–"),
    el("td", { class: "num" }, run.last?.kind === "end" ? percent(run.last.accuracy) : { stopped: "stopped", failed: "failed" }[run.last?.kind] ?? "learning")));
  const head = ["run", "optimizer", "rate", "augmentation", "epochs", "training loss", "best validation", "test"];
  scrolls("runs", "All runs");
  get("runs").replaceChildren(el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows)));
  const [one, other] = shown();
  if (!other || !one?.epochs.length || !other.epochs.length) return;
  const at = Math.min(one.epochs.length, other.epochs.length);
  const [a, b] = [one, other].map((run) => run.epochs[at - 1].row);
  const changed = ["lr", "optimizer", "augmentation", "seed", "epochs"].filter((key) => one.asked[key] !== other.asked[key]);
  const points = 100 * (a.val_accuracy - b.val_accuracy);
  const named = (run) => (run.number ? `run ${run.number}` : "the recorded run");
  get("difference").textContent = `After ${at} ${at === 1 ? "epoch" : "epochs"} ${named(one)} has a validation loss of ${format(a.val_loss, 3)} and ${named(other)} of ${format(b.val_loss, 3)}; ${named(one)} is ${points === 0 ? "equal in accuracy" : `${short(Math.abs(points))} points ${points > 0 ? "better" : "worse"}`}. Different: ${changed.length ? changed.map((key) => `${key} ${other.asked[key]} → ${one.asked[key]}`).join(", ") : "nothing"}.`;
}

const same = (a, b) => a.epochs.length === b.epochs.length && a.epochs.every((one, index) => one.row.val_loss === b.epochs[index].row.val_loss);
const controls = (run) => JSON.stringify(run.asked);
const observe = tries([
  {
    ask: "A learning rate of 10 with SGD, a hundred times the usual: what will the validation loss do?",
    options: ["fall faster", "stay at guessing (2.3) or above"],
    how: "Set the optimizer to SGD, the learning rate to 10, 3 epochs, and start.",
    seen: ({ run }) => {
      if (run.asked.optimizer !== "sgd" || run.asked.lr < 10) return null;
      const last = run.epochs.at(-1)?.row.val_loss;
      if (run.last?.kind === "failed") return { right: "stay at guessing (2.3) or above", says: `The run was ended: ${run.last.error}.` };
      if (last === undefined) return null;
      return { right: last < 1.5 ? "fall faster" : "stay at guessing (2.3) or above", says: `After ${run.epochs.length} ${run.epochs.length === 1 ? "epoch" : "epochs"} it is ${format(last, 3)}: every step goes too far. Chapter 9 shows why.` };
    },
  },
  {
    ask: "With strong augmentation (shifts, turns, erasing): will the accuracy while training lie above or below that on validation images?",
    options: ["above", "below"],
    how: "Choose “shifts, turns, erasing”, a learning rate at which it learns, 5 epochs, and start.",
    seen: ({ run }) => {
      const row = run.epochs.at(-1)?.row;
      if (run.asked.augmentation !== "strong" || !row || row.val_accuracy < 0.5) return null;
      return { right: row.train_accuracy > row.val_accuracy ? "above" : "below", says: `${percent(row.train_accuracy)} of the changed training images, ${percent(row.val_accuracy)} of the unchanged validation images.` };
    },
  },
  {
    ask: "The same controls and the same seed, once more: how alike will the two runs be?",
    options: ["equal in every digit", "alike, not equal", "different"],
    how: "Start two runs of your own without changing anything in between.",
    seen: ({ run, runs: all }) => {
      const twin = all.find((one) => one !== run && one.number && controls(one) === controls(run) && one.epochs.length === run.epochs.length && run.epochs.length);
      if (!twin) return null;
      const apart = Math.max(...run.epochs.map((one, index) => Math.abs(one.row.val_loss - twin.epochs[index].row.val_loss)));
      return { right: same(run, twin) ? "equal in every digit" : apart < 0.05 ? "alike, not equal" : "different", says: `Their validation losses differ by ${apart === 0 ? "0" : short(apart)} at most: every random choice follows from the seed.` };
    },
  },
]);

get("lr").max = RATES.length - 1;
get("lr").oninput = () => { setRate(RATES[get("lr").valueAsNumber]); preview(); };
choices(get("optimizer"), "Optimizer", [["sgd", "SGD"], ["adam", "Adam"], ["adamw", "AdamW"]], state.optimizer, (value) => { state.optimizer = value; setRate(facts.rates[value]); preview(); });
choices(get("augmentation"), "Augmentation", AUGMENTATIONS, state.augmentation, (value) => { state.augmentation = value; preview(); });
get("epochs").oninput = get("seed").oninput = () => preview();
get("start").onclick = start;
get("replay").onclick = play;
get("to-end").onclick = showEnd;
get("stop").onclick = () => { get("stop").disabled = true; say("Stopping at the next step …"); ask("training/stop").catch(complain); };
get("one").onchange = get("other").onchange = () => { curves(); table(); };
addEventListener("pagehide", () => abort?.());
buttons();
setRate(state.lr);
curves();
ask("training/begin").then((found) => {
  facts = found;
  say(`LeNet-5, ${count(found.num_parameters)} weights, and ${count(found.num_images)} handwritten digits; nothing has been learned yet.`);
  paintConfusion(found.classes.map(() => found.classes.map(() => 0)));
  const first = found.filters;
  const largest = Math.max(...first.flat(3).map(Math.abs));
  get("filters").replaceChildren(...first.map((kernel, index) => {
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `filter ${index + 1}` });
    paintMap(canvas, kernel[0], { colours: "signed", low: -largest, high: largest });
    return canvas;
  }));
  return Promise.all([ask("training/recorded"), preview()]);
}).then(([found]) => {
  recorded = { number: 0, title: `recorded: ${found.asked.optimizer}, ${found.asked.lr}, ${found.asked.augmentation}`, asked: found.asked, events: found.events, from: found, num_epochs: found.asked.epochs, steps: [], epochs: [], last: null };
  runs.push(recorded);
  if (quiet) showEnd(); else play();
}).catch(complain).finally(ready);
