// Shared by the pages: requests to Python, elements, error messages.

export class Refused extends Error {}

export const ask = (word, question = {}) => send(word, "application/json", JSON.stringify(question));

// The address is relative, because the lab includes the page of teach.
export async function send(word, type, body) {
  let response;
  try {
    response = await fetch(`api/${word}`, { method: "POST", headers: { "content-type": type }, body });
  } catch {
    throw new Refused("there is no answer; is catseye still running in its terminal?");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(content.error ?? `the answer has status ${response.status}`);
  return content;
}

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function complain(error) {
  $("message").textContent = error instanceof Refused ? error.message : `something went wrong on this page: ${error.message}`;
  $("message").hidden = false;
  if (!(error instanceof Refused)) console.error(error);
}

export const calm = () => { $("message").hidden = true; };
export const percent = (share) => `${(share * 100).toFixed(share > 0.995 || share < 0.1 ? 1 : 0)}%`;

/** Run one thing at a time: keys pressed while Python is working wait for it. */
export function inTurn() {
  let last = Promise.resolve();
  return (work) => (last = last.then(work).then(calm, complain));
}

export function shareList(list, shares) {
  list.replaceChildren(...shares.map(({ label, share }) => {
    const meter = element("meter", { min: 0, max: 1, value: share });
    meter.setAttribute("aria-label", label);
    return element("li", {}, element("span", { textContent: label }), meter, element("span", { className: "num", textContent: percent(share) }));
  }));
}
