// The page of catseye label: an image, a proposal, one key.
import { $, ask, element, inTurn, percent, shareList } from "./common.js";

const turn = inTurn();
const LETTERS = "123456789abcdefghijklmopqrtvwyz"; // without n, s, u, x, which have other functions
let state;

function show() {
  const question = state.question;
  $("file").textContent = state.file;
  $("progress-text").textContent = `${state.num_decided} of ${state.total}`;
  $("progress").max = state.total;
  $("progress").value = state.num_decided;
  $("undo").disabled = !state.can_undo;
  $("estimate").textContent = state.estimate === null ? "–" : percent(state.estimate);
  $("estimate-text").textContent = state.estimate === null ? "Shown once two classes have images." : `Estimated for the images without a decision; the head was trained in ${state.retrained_s.toFixed(2)} s.`;
  drawCurve();
  $("counts").replaceChildren(...state.classes.map((name, k) => element("li", {}, element("span", { textContent: name }), element("span", { className: "num", textContent: state.counts[k] }))));
  $("classes").replaceChildren(...state.classes.slice(0, LETTERS.length).map((name, k) => {
    const button = element("button", { type: "button" }, `${name} `, element("kbd", { textContent: LETTERS[k].toUpperCase() }));
    button.addEventListener("click", () => { button.blur(); give(name); });
    return button;
  }));
  $("accept").hidden = !question?.proposed;
  $("stage").replaceChildren();
  shareList($("shares"), question?.shares ?? []);
  if (!question) {
    $("proposal").textContent = "Every image is decided.";
    $("by").textContent = "Give the list to catseye train.";
    $("name").textContent = "";
  } else {
    $("proposal").textContent = question.proposed ? `${question.proposed}?` : "Which class is it?";
    $("by").textContent = question.proposed ? `proposed by ${state.by}` : "no proposal yet";
    $("accept").firstChild.textContent = `${question.proposed} `;
    const image = element("img", { src: `/image/${question.number}/720`, alt: question.name });
    image.addEventListener("load", () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= 96));
    $("stage").append(image);
    $("name").textContent = question.name + (question.copies ? `, and ${question.copies} equal to it` : "");
  }
  document.documentElement.dataset.ready = "yes";
  document.documentElement.dataset.number = question ? question.number : "none";
  document.documentElement.dataset.decided = state.num_decided;
}

function drawCurve() {
  const curve = $("curve");
  curve.replaceChildren();
  const draw = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    curve.append(made);
  };
  for (const y of [0, 50, 100]) draw("line", { x1: 0, x2: 100, y1: y, y2: y });
  const last = Math.max(1, ...state.curve.map(([num]) => num));
  const points = state.curve.map(([num, share]) => `${((num / last) * 100).toFixed(2)} ${(100 - share * 100).toFixed(2)}`);
  if (points.length) draw("path", { d: `M ${points.join(" L ")}` });
}

const send = (word, question) => turn(async () => { state = await ask(word, question); show(); });
const decide = (kind, label = "") => state.question && send("decide", { number: state.question.number, kind, label });
const give = (name) => decide("relabel", name);

const KEYS = {
  Enter: () => state.question?.proposed && give(state.question.proposed),
  x: () => decide("drop"),
  s: () => decide("unsure"),
  n: () => state.question && send("skip", { number: state.question.number }),
  u: () => state.can_undo && send("undo", {}),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !state) return;
  if (event.key === "Enter" && event.target.closest("button, a")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const place = LETTERS.indexOf(key);
  const act = KEYS[key] ?? (key.length === 1 && place >= 0 && place < state.classes.length ? () => give(state.classes[place]) : null);
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const button of document.querySelectorAll("[data-key]")) button.addEventListener("click", () => { button.blur(); KEYS[button.dataset.key](); });

send("state", {});
