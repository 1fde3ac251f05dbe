// Images that the model file brings, to be tried with a click. They come as data URLs, which nothing may fetch here.

export function showExamples(examples, take) {
  const place = document.getElementById("examples");
  place.hidden = !examples?.length;
  document.getElementById("example-list").replaceChildren(...(examples ?? []).map((one, index) => {
    const image = document.createElement("img");
    image.src = one.image;
    image.alt = `example ${index + 1}: ${one.class}`;
    image.onload = () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= 96);
    const button = document.createElement("button");
    button.type = "button";
    button.append(image);
    button.onclick = () => take([fileOf(one, index)]);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function fileOf(one, index) {
  const [head, body] = one.image.split(",");
  const type = head.slice("data:".length, head.indexOf(";"));
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new File([bytes], `example-${index + 1}.${type === "image/png" ? "png" : "jpg"}`, { type });
}
