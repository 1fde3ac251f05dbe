// Shows one answer: verdict, bars, heat map. Names of classes and files are text, never markup.

const FEW = 5;
const get = (id) => document.getElementById(id);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export const percent = (value) => `${value.toFixed(value > 0 && value < 0.1 ? 2 : 1)}%`;

export function showImage(entry) {
  get("invitation").hidden = true;
  get("viewer").hidden = false;
  get("drop").classList.add("full");
  const image = get("image");
  image.onload = () => {
    // Tiny images, the input of small networks, are enlarged without smoothing.
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= 96);
    get("caption").textContent = `${entry.name}  ·  ${image.naturalWidth} × ${image.naturalHeight}`;
  };
  image.onerror = () => { get("caption").textContent = entry.name; };
  image.src = entry.url;
  image.alt = entry.answer ? `${entry.name}, classified as ${entry.answer.class}` : entry.name;
}

export function showResult(entry, card, all = false) {
  const verdict = get("verdict");
  const bars = get("bars");
  const heat = get("heat");
  const cam = entry.answer?.cam;
  heat.hidden = !cam;
  if (cam) heat.src = cam;
  get("heat-control").hidden = !cam;
  get("curl").disabled = false;
  get("all").hidden = true;
  get("timing").textContent = "";
  if (entry.error) {
    verdict.replaceChildren(element("p", "note failed", entry.error));
    bars.replaceChildren();
    return;
  }
  if (!entry.answer) {
    verdict.replaceChildren(element("p", "quiet working", "classifying …"));
    bars.replaceChildren();
    return;
  }
  const answer = entry.answer;
  const unsure = answer.unknown === true;
  const parts = [
    element("p", "label", unsure ? "Unknown" : answer.class),
    element("p", "share", unsure ? `closest: ${answer.class}, ${percent(answer.confidence)}` : percent(answer.confidence)),
  ];
  if (unsure) {
    parts.push(element("p", "note unsure", whyUnknown(answer, card)));
  }
  verdict.replaceChildren(...parts);
  const shares = Object.entries(answer.all_probabilities).sort((a, b) => b[1] - a[1]);
  bars.classList.toggle("unsure", unsure);
  bars.replaceChildren(...shares.slice(0, all ? shares.length : FEW).map(([name, share]) => bar(name, share)));
  if (shares.length > FEW) {
    const button = get("all");
    button.hidden = false;
    button.textContent = all ? "Show fewer" : `Show all ${shares.length} classes`;
    button.onclick = () => showResult(entry, card, !all);
  }
  if (entry.ms !== undefined) get("timing").textContent = `answered in ${Math.round(entry.ms)} ms`;
}

function whyUnknown(answer, card) {
  if (answer.familiarity !== undefined) {
    const limit = card?.familiarity_threshold == null ? "" : `, below ${card.familiarity_threshold.toFixed(2)}`;
    return `This is unlike all images the model was trained on: familiarity ${answer.familiarity.toFixed(2)}${limit}.`;
  }
  const limit = card?.unknown_threshold == null ? "its threshold" : percent(card.unknown_threshold * 100);
  return `This may be none of the classes: the best of them is below ${limit}.`;
}

function bar(name, share) {
  const row = element("li");
  const fill = element("div", "fill");
  fill.style.setProperty("--share", share);
  const track = element("div", "track");
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  row.append(element("span", "name", name), element("span", "value", percent(share)), track);
  return row;
}
