// Shows /openapi.json: every route with its parameters, its responses and a command to try.

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

function address(path) {
  return new URL(path.slice(1), document.baseURI).href;
}

/** The same request in Python and JavaScript. */
function programs(method, path, operation) {
  const url = address(path);
  if (method === "get") {
    return {
      Python: `import requests\n\nprint(requests.get("${url}", timeout=10).json())`,
      JavaScript: `console.log(await (await fetch("${url}")).json());`,
    };
  }
  if (Object.keys(operation.requestBody?.content ?? {})[0] !== "multipart/form-data") return {};
  return {
    Python: `import requests\n\nwith open("cat.jpg", "rb") as image:\n    answer = requests.post("${url}", files={"file": image}, timeout=30)\nprint(answer.json())`,
    JavaScript: `const form = new FormData();\nform.append("file", document.querySelector("input[type=file]").files[0]);\nconst answer = await fetch("${url}", { method: "POST", body: form });\nconsole.log(await answer.json());`,
  };
}

/** One box of code, and a button for each language. */
function ways(method, path, operation) {
  const all = { curl: command(method, path, operation), ...programs(method, path, operation) };
  const box = element("div");
  const code = element("pre", "", all.curl);
  const choice = element("div", "actions");
  for (const name of Object.keys(all)) {
    const button = element("button", "chip", name);
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === "curl"));
    button.onclick = () => {
      code.textContent = all[name];
      for (const other of choice.children) other.setAttribute("aria-pressed", String(other === button));
    };
    choice.append(button);
  }
  if (choice.children.length > 1) box.append(choice);
  box.append(code);
  return box;
}

/** A form that sends the request to this server, with files if the route takes them. */
function tryIt(method, path, operation) {
  const wantsFile = method === "post" && Object.keys(operation.requestBody?.content ?? {})[0] === "multipart/form-data";
  if (!wantsFile && (method !== "get" || path.includes("{"))) return "";
  const box = element("details");
  box.append(element("summary", "", "Try it"));
  const answer = element("pre", "", "");
  answer.hidden = true;
  answer.setAttribute("aria-live", "polite");
  const file = element("input");
  file.type = "file";
  file.multiple = path.endsWith("/batch");
  file.accept = "image/*";
  file.setAttribute("aria-label", `images for ${path}`);
  const send = element("button", "primary", "Send");
  send.type = "button";
  send.onclick = async () => {
    answer.hidden = false;
    answer.textContent = "waiting for the response …";
    const headers = sessionStorage.getItem("token") ? { Authorization: `Bearer ${sessionStorage.getItem("token")}` } : {};
    const options = { method: method.toUpperCase(), headers };
    if (wantsFile) {
      options.body = new FormData();
      for (const image of file.files) options.body.append("file", image, image.name);
    }
    try {
      const response = await fetch(address(path), options);
      const text = await response.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* no JSON: shown as it is */ }
      answer.textContent = `${response.status}\n${shown.slice(0, 20_000)}`;
    } catch {
      answer.textContent = "the server cannot be reached";
    }
  };
  const row = element("div", "actions");
  if (wantsFile) row.append(file);
  row.append(send);
  box.append(row, answer);
  return box;
}

function draw(api, method, path, operation) {
  const panel = element("section", "panel operation");
  const head = element("div", "head");
  head.append(element("span", "method", method.toUpperCase()), element("code", "", path), element("span", "quiet", operation.summary));
  panel.append(head);
  if (operation.description) panel.append(element("p", "quiet small", operation.description));
  panel.append(ways(method, path, operation), tryIt(method, path, operation));
  if (operation.parameters) panel.append(table(operation.parameters.map((each) => [`?${each.name}=`, each.description])));
  const schema = operation.responses["200"].content["application/json"]?.schema ?? {};
  const named = schema.$ref && api.components.schemas[schema.$ref.split("/").pop()];
  if (named?.examples) panel.append(element("pre", "", JSON.stringify(named.examples[0], null, 2)));
  const others = Object.keys(operation.responses).filter((status) => status !== "200");
  if (others.length) panel.append(element("p", "quiet small", `errors: ${others.join(", ")} with {"error", "code", "request_id"}`));
  return panel;
}

const api = await (await fetch("openapi.json")).json();
document.getElementById("title").textContent = api.info.title;
document.getElementById("description").textContent = api.info.description;
const list = document.getElementById("operations");
list.style.display = "block";
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) list.append(draw(api, method, path, operation));
}

document.documentElement.dataset.ready = "yes";
