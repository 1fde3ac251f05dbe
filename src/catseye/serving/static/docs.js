// Draws /openapi.json: every route with its parameters, its answers and a command to try it with.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function table(rows) {
  const made = element("table");
  for (const cells of rows) {
    const row = element("tr");
    cells.forEach((cell, index) => {
      const column = element("td");
      column.append(index === 0 ? element("code", "", cell) : cell);
      row.append(column);
    });
    made.append(row);
  }
  return made;
}

function command(method, path, operation) {
  const url = new URL(path.slice(1), document.baseURI).href; // below a proxy's prefix, if there is one
  if (method === "get") return `curl ${url}`;
  const kinds = Object.keys(operation.requestBody?.content ?? {});
  if (kinds[0] === "multipart/form-data") {
    const files = path.endsWith("/batch") ? "-F file=@cat.jpg -F file=@dog.jpg" : "-F file=@cat.jpg";
    return `curl -X POST ${files} ${url}`;
  }
  return `curl -X POST -H 'Content-Type: application/json' -d @request.json ${url}`;
}

function draw(said, method, path, operation) {
  const panel = element("section", "panel operation");
  const head = element("div", "head");
  head.append(element("span", "method", method.toUpperCase()), element("code", "", path), element("span", "quiet", operation.summary));
  panel.append(head);
  if (operation.description) panel.append(element("p", "quiet small", operation.description));
  panel.append(element("pre", "", command(method, path, operation)));
  if (operation.parameters) panel.append(table(operation.parameters.map((one) => [`?${one.name}=`, one.description])));
  const schema = operation.responses["200"].content["application/json"]?.schema ?? {};
  const named = schema.$ref && said.components.schemas[schema.$ref.split("/").pop()];
  if (named?.examples) panel.append(element("pre", "", JSON.stringify(named.examples[0], null, 2)));
  const others = Object.keys(operation.responses).filter((status) => status !== "200");
  if (others.length) panel.append(element("p", "quiet small", `else ${others.join(", ")} with {"error", "code", "request_id"}`));
  return panel;
}

const said = await (await fetch("openapi.json")).json();
document.getElementById("title").textContent = said.info.title;
document.getElementById("description").textContent = said.info.description;
const list = document.getElementById("operations");
list.style.display = "block";
for (const [path, methods] of Object.entries(said.paths)) {
  for (const [method, operation] of Object.entries(methods)) list.append(draw(said, method, path, operation));
}
