// The model card: what the file says about itself.

const get = (id) => document.getElementById(id);
const share = (value) => `${(value * 100).toFixed(1)}%`;

function fact(name, value, more) {
  const term = document.createElement("dt");
  term.textContent = name;
  const description = document.createElement("dd");
  description.textContent = value;
  if (more) {
    const small = document.createElement("small");
    small.textContent = more;
    description.append(small);
  }
  const group = document.createElement("div");
  group.append(term, description);
  return group;
}

/** The name `model.onnx` says nothing about the purpose: show its few classes instead, or its data. */
function title(card) {
  if (card.name !== "model") return card.name;
  if (card.classes.length > 1 && card.classes.length < 5) {
    return `${card.classes.slice(0, -1).join(", ")} or ${card.classes.at(-1)}`;
  }
  return card.data || card.name;
}

/** `timm:tf_efficientnet_lite0` as a readable name. */
export function friendly(network) {
  const plain = network.replace(/^timm:(tf_)?/, "").replace(/_/g, " ");
  const known = ["EfficientNet", "ConvNeXt", "MobileNet", "ResNet", "LeNet", "AlexNet", "GoogLeNet", "VGG"];
  return known.reduce((text, name) => text.replace(new RegExp(`^${name}`, "i"), name), plain);
}

export function showCard(card) {
  document.title = `${title(card)} · catseye`;
  get("model-name").textContent = title(card);
  const accuracy = card.accuracy;
  const numClasses = `${card.classes.length} ${card.classes.length === 1 ? "class" : "classes"}`;
  get("model-line").textContent =
    `${friendly(card.network)}, ${numClasses}` + (accuracy ? `, ${share(accuracy.share)} right on held-out images` : "");
  const facts = [];
  const size = card.num_parameters ? `${(card.num_parameters / 1e6).toFixed(2)} M parameters` : "";
  if (accuracy) {
    const interval = accuracy.interval_95 ? `95% interval ${share(accuracy.interval_95[0])} – ${share(accuracy.interval_95[1])}` : "";
    const count = accuracy.num_images ? `${accuracy.num_images.toLocaleString("en")} ${accuracy.split} images` : `${accuracy.split} split`;
    facts.push(fact("Accuracy", share(accuracy.share), [interval, count].filter(Boolean).join(", ")));
  }
  facts.push(
    fact("Network", friendly(card.network), [friendly(card.network) === card.network ? "" : card.network, size].filter(Boolean).join(", ")),
    fact("Input", `${card.input.width_px} × ${card.input.height_px}`, card.input.channels === 1 ? "greyscale" : "colour"),
    fact("File", `${(card.file_bytes / 1e6).toFixed(2)} MB`, `version ${card.version}`),
    fact("Runs on", card.runtime),
  );
  if (card.unknown_threshold != null) facts.push(fact("“Unknown” below", share(card.unknown_threshold)));
  if (card.familiarity_threshold != null) {
    facts.push(fact("Strangers below", card.familiarity_threshold.toFixed(2), "familiarity: cosine of the features to the nearest class mean"));
  }
  if (card.created) facts.push(fact("Trained", card.created.slice(0, 10), card.data ? `on ${card.data}` : ""));
  get("facts").replaceChildren(...facts);
  get("classes-line").textContent = numClasses;
  get("classes").replaceChildren(
    ...card.classes.map((name) => {
      const item = document.createElement("li");
      item.textContent = name;
      return item;
    }),
  );
}
