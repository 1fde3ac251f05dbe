// The page's requests to the server. The token, if one is needed, stays in this tab. Addresses are relative to the page:
// a proxy may serve it under any prefix.

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (value) => sessionStorage.setItem("token", value),
};

async function ask(path, options = {}) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(0, "unreachable", "the server cannot be reached; is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.code, answer.error ?? `status ${response.status}`);
  return answer;
}

export const modelCard = () => ask("model");

export function predict(file, withCam) {
  const form = new FormData();
  form.append("file", file, file.name || "image");
  return ask(withCam ? "predict?explain=cam" : "predict", { method: "POST", body: form });
}

export function curlCommand(name) {
  // Inside single quotes nothing is special to a shell; ", ; and , are special to curl's -F.
  const safe = (name || "image.jpg").replace(/['";,\\\p{Cc}]/gu, "_");
  const secret = token.get() ? ` -H "Authorization: Bearer $TOKEN"` : "";
  return `curl -X POST${secret} -F 'file=@${safe}' ${new URL("predict", document.baseURI)}`;
}
