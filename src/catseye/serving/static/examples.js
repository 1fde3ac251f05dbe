// The model file's example images, to try with a click. They are data URLs, which this page may not fetch.

export function showExamples(examples, take) {
  const place = document.getElementById("examples");
  place.hidden = !examples?.length;
  document.getElementById("example-list").replaceChildren(...(examples ?? []).map((example, index) => {
    const image = document.createElement("img");
    image.src = example.image;
    image.alt = `example ${index + 1}: ${example.class}`;
    image.onload = () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= 96);
    const button = document.createElement("button");
    button.type = "button";
    button.append(image);
    button.onclick = () => take([fileOf(example, index)]);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function fileOf(example, index) {
  const [head, body] = example.image.split(",");
  const type = head.slice("data:".length, head.indexOf(";"));
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new File([bytes], `example-${index + 1}.${type === "image/png" ? "png" : "jpg"}`, { type });
}
