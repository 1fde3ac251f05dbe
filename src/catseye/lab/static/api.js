// From a page to Python: ask a question, watch a stream, show what was refused.

export class Refused extends Error {}

async function sentence(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the lab answered with status ${response.status}`;
  }
}

async function send(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Refused("the lab does not answer; is `catseye lab` still running?");
  }
  if (!response.ok) throw new Refused(await sentence(response));
  return response.json();
}

/** The answer to a question such as ask("convolution/slide", {stride: 1}). */
export const ask = (question, fields = {}) =>
  send(`/api/${question}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) });

export const images = async () => (await send("/api/images")).images;

export const sendImage = (file) =>
  send("/api/images", { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });

/** Every value of a streamed answer (server-sent events); returns a function that stops it. */
export function watch(question, fields, { value, end = () => {}, refused = complain }) {
  const stopper = new AbortController();
  follow(question, fields, value, stopper.signal)
    .catch((error) => { if (!stopper.signal.aborted) refused(error); })
    .finally(end);
  return () => stopper.abort();
}

// fetch, not EventSource, which restarts the work when it ends and cannot read why it was refused.
async function follow(question, fields, value, signal) {
  const response = await fetch(`/api/${question}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields), signal });
  if (!response.ok) throw new Refused(await sentence(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value: piece } = await reader.read();
    if (done) throw new Refused("the lab stopped answering");
    text += piece;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [, event] = block.match(/^event: (.*)$/m) ?? [];
      const data = JSON.parse(block.match(/^data: (.*)$/m)[1]);
      if (event === "end") return;
      if (event === "refused") throw new Refused(data.error);
      value(data);
    }
  }
}

/** Show an error until the next success. */
export function complain(error) {
  const line = document.getElementById("message");
  line.textContent = error instanceof Refused ? error.message : `something went wrong on this page: ${error.message}`;
  line.hidden = false;
  if (!(error instanceof Refused)) console.error(error);
}

export function calm() {
  document.getElementById("message").hidden = true;
}

/** Wrap an async function so that only the answer of its latest call is shown; errors are shown, too. */
export function latest(work, show) {
  let running = 0;
  return async (...args) => {
    const mine = ++running;
    try {
      const answer = await work(...args);
      if (mine === running) {
        calm();
        show(answer, ...args);
      }
    } catch (error) {
      if (mine === running) complain(error);
    }
  };
}

/** Tell tests and screen readers that the page shows its first numbers. */
export function ready() {
  document.documentElement.dataset.ready = "yes";
}
