// The page of catseye review: one question at a time, one key per decision.
import { $, ask, complain, element, inTurn, shareList } from "./common.js";

const turn = inTurn();
let state;
let question;
let number = 0;
let zoomed = false;
let heat = false;
let onChoice = () => {};

const firstOpen = (from = 0) => {
  for (let step = 0; step < state.items.length; step++) {
    const place = (from + step) % state.items.length;
    if (!state.items[place].outcome) return place;
  }
  return null;
};

function showState() {
  $("title").textContent = state.title;
  $("file").textContent = state.file;
  $("num-decisions").textContent = state.num_decisions;
  const done = state.items.length - state.open;
  $("progress-text").textContent = `${done} of ${state.items.length}`;
  $("progress").max = Math.max(1, state.items.length);
  $("progress").value = done;
  $("undo").disabled = !state.can_undo;
  if (state.has_heat !== undefined) $("heat").hidden = !state.has_heat;
  $("kinds").replaceChildren(...state.kinds.map(({ kind, title, done, total }) => {
    const line = element("li", {}, element("span", { textContent: title }), element("span", { className: "num", textContent: `${done} of ${total}` }));
    if (question && kind === question.kind) line.setAttribute("aria-current", "true");
    return line;
  }));
  $("queue").replaceChildren(...state.items.map((item, place) => {
    const button = element("button", { type: "button" }, element("span", { textContent: item.name }), element("span", { className: "outcome", textContent: item.outcome }));
    if (place === number) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => turn(() => go(place)));
    return element("li", {}, button);
  }));
  const current = $("queue").children[number];
  if (current) $("queue").scrollTop = current.offsetTop - $("queue").offsetTop - 60;
}

function figure(shown) {
  const image = element("img", { src: `/image/${shown.index}/${zoomed ? 2400 : 720}`, alt: `${shown.name}, labelled ${shown.label}`, className: Math.max(shown.width, shown.height) <= 96 ? "tiny" : "" });
  const fitted = element("div", { className: "fitted" }, image);
  if (heat && state.has_heat && shown.readable) {
    const label = question.likely || shown.label;
    const over = element("img", { className: "heat", alt: `heat map of ${label}`, src: `/image/heat/${shown.index}/${encodeURIComponent(label)}` });
    over.addEventListener("error", () => over.remove());
    fitted.append(over);
  }
  const frame = element("div", { className: "frame" }, shown.readable ? fitted : element("p", { className: "quiet", textContent: "this file cannot be shown" }));
  const facts = [shown.split, shown.width ? `${shown.width} × ${shown.height}` : "", shown.given !== shown.label ? `was ${shown.given}` : ""].filter(Boolean).join(" · ");
  return element("figure", { className: "shown" }, frame, element("figcaption", {}, element("b", { textContent: shown.label }), ` ${shown.name} `, element("span", { className: "quiet", textContent: facts })));
}

function showQuestion() {
  if (!question) {
    $("kind").textContent = "done";
    $("reason").textContent = state.items.length ? "Every question is answered. Stop catseye with Ctrl-C and open the review again: corrected labels often reveal further errors. Then train again, and compare the runs:" : "No doubtful labels were found.";
    for (const id of ["stage", "shares", "nearest"]) $(id).replaceChildren();
    $("covers").textContent = "";
    if (state.items.length) $("stage").append(element("code", { textContent: state.command }));
    $("accept").hidden = true;
    return;
  }
  $("kind").textContent = question.title;
  $("reason").textContent = question.reason;
  $("stage").replaceChildren(...question.images.map(figure));
  $("stage").classList.toggle("zoomed", zoomed);
  const others = question.covers - 1;
  $("covers").textContent = others > 0 ? `The decision applies to ${question.covers} copies of the same image: ${[...question.images, ...question.copies].map((image) => image.name).join(", ")}` : "";
  $("accept").hidden = !question.likely;
  const unlabelled = question.images[0].label === question.images[0].given && question.kind === "unlabelled";
  $("keep").hidden = $("merge").hidden = unlabelled; // there is no label that could be right
  $("accept").firstChild.textContent = `It is ${question.likely} `;
  shareList($("shares"), question.probabilities);
  $("nearest").replaceChildren(...question.nearest.flatMap(({ label, images }) => [
    element("h2", { textContent: `Most similar images of ${label}` }),
    element("ul", { className: "near" }, ...images.map(({ index, name, cosine }) => element("li", {}, element("img", { src: `/image/${index}/160`, alt: name }), element("span", { className: "num", textContent: cosine.toFixed(2) })))),
  ]));
}

async function go(place) {
  if (place === null || !state.items.length) {
    question = null;
  } else {
    number = (place + state.items.length) % state.items.length;
    question = await ask("question", { number });
  }
  showState();
  showQuestion();
  document.documentElement.dataset.ready = "yes";
  document.documentElement.dataset.number = question ? number : "none";
}

async function decide(kind, label = "") {
  if (!question) return;
  state = { ...state, ...(await ask("decide", { number, kind, label })) };
  await go(firstOpen(number + 1));
}

async function undo() {
  const answer = await ask("undo");
  state = { ...state, ...answer };
  await go(answer.number);
}

function choose(title, then) {
  if (!question) return;
  $("choose-title").textContent = title;
  $("typed").value = "";
  onChoice = then;
  offer();
  $("choose").showModal();
  $("typed").focus();
}

function offer() {
  const typed = $("typed").value.trim();
  const like = typed.toLowerCase();
  const own = question.images[0].label;
  const starts = state.classes.filter((name) => name.toLowerCase().startsWith(like));
  const inside = state.classes.filter((name) => !starts.includes(name) && name.toLowerCase().includes(like));
  const names = [...starts, ...inside].filter((name) => name !== own || typed);
  if (typed && !state.classes.includes(typed)) names.push(typed);
  $("options").replaceChildren(...names.map((name, place) => {
    const line = element("li", { id: `option-${place}`, textContent: state.classes.includes(name) ? name : `${name} (new class)` });
    line.dataset.name = name;
    line.setAttribute("role", "option");
    line.addEventListener("click", () => take(line));
    return line;
  }));
  select(0);
}

function select(place) {
  const lines = [...$("options").children];
  lines.forEach((line, index) => line.setAttribute("aria-selected", String(index === place)));
  if (lines[place]) {
    $("typed").setAttribute("aria-activedescendant", lines[place].id);
    lines[place].scrollIntoView({ block: "nearest" });
  } else {
    $("typed").removeAttribute("aria-activedescendant");
  }
}

function take(line) {
  $("choose").close();
  turn(() => onChoice(line.dataset.name));
}

$("typed").addEventListener("input", offer);
$("typed").addEventListener("keydown", (event) => {
  const lines = [...$("options").children];
  const now = lines.findIndex((line) => line.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    select(Math.min(lines.length - 1, Math.max(0, now + (event.key === "ArrowDown" ? 1 : -1))));
  } else if (event.key === "Enter") {
    event.preventDefault();
    if (lines[now]) take(lines[now]);
  }
});

async function worth() {
  $("worth-text").textContent = "measuring …";
  try {
    $("worth-text").textContent = (await ask("worth")).sentence;
  } catch (error) {
    $("worth-text").textContent = "";
    throw error;
  }
}

const KEYS = {
  k: () => turn(() => decide("keep")),
  Enter: () => question?.likely && turn(() => decide("relabel", question.likely)),
  r: () => choose("It is", (name) => decide("relabel", name)),
  m: () => choose(`The class ${question?.images[0].label} is the same as`, (name) => decide("merge", name)),
  d: () => turn(() => decide("drop")),
  s: () => turn(() => decide("unsure")),
  u: () => state.can_undo && turn(undo),
  n: () => turn(() => go(number + 1)),
  p: () => turn(() => go(number - 1)),
  z: () => { zoomed = !zoomed; $("zoom").setAttribute("aria-pressed", zoomed); showQuestion(); },
  c: () => { heat = !heat; $("heat").setAttribute("aria-pressed", heat); showQuestion(); },
  w: () => turn(worth),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  // The Enter that chose a class has closed the dialog; it must not answer the next question too.
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && event.target.closest("button, a")) return; // the browser presses it
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (act && !event.repeat) {
    event.preventDefault();
    act();
  }
});
for (const button of document.querySelectorAll("[data-key]")) button.addEventListener("click", () => { button.blur(); KEYS[button.dataset.key](); });
$("worth").addEventListener("click", KEYS.w);

turn(async () => {
  state = await ask("state");
  await go(firstOpen());
}).catch(complain);
