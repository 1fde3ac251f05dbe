// Things to try: first a prediction, then the answer, which the page measures when the user does it.

import { el, get } from "./draw.js";

/**
 * Fill the list of this page. A try is {ask, options, how, seen}: `seen(now)` gets what the page shows after every
 * answer from Python, and returns null until the user has done it, then {right, says}: the measured option, or other
 * words if it is none of them. Returns observe(now), to be called with what is shown.
 */
export function tries(list) {
  const items = list.map(item);
  get("tries").replaceChildren(...items.map((each) => each.element));
  get("tries").closest("section").hidden = false;
  return (now) => items.forEach((each) => each.observe(now));
}

function item({ ask, options, how, seen }, number) {
  const verdict = el("p", { class: "verdict", role: "status" });
  const doing = el("p", { class: "doing", hidden: true }, el("b", {}, "Now do it: "), how);
  const radios = options.map((option) => el("input", { type: "radio", name: `try-${number}`, value: option, onchange: () => predict(option) }));
  const again = el("button", { type: "button", class: "again", hidden: true, onclick: () => reset() }, "Predict again");
  const element = el("li", {}, el("fieldset", { class: "try" }, el("legend", {}, ask),
    el("div", { class: "options" }, ...radios.map((radio, index) => el("label", { class: "check" }, radio, options[index])))), doing, verdict, again);
  let predicted = null, measured = null;

  function predict(option) {
    predicted = option;
    doing.hidden = false;
    show();
  }

  function reset() {
    [predicted, measured] = [null, null];
    radios.forEach((radio) => Object.assign(radio, { checked: false, disabled: false }));
    verdict.replaceChildren();
    delete element.dataset.right;
    doing.hidden = again.hidden = true;
    radios[0].focus();
  }

  function observe(now) {
    if (element.dataset.right) return; // answered: later changes of the page keep the answer
    measured = seen(now);
    show();
  }

  function show() {
    if (!measured || predicted === null) return;
    const right = predicted === measured.right;
    element.dataset.right = right ? "yes" : "no";
    radios.forEach((radio) => { radio.disabled = true; });
    doing.hidden = true;
    again.hidden = false;
    verdict.replaceChildren(el("b", {}, `${right ? "As you said" : "Measured"}: ${measured.right}.`), ` ${measured.says}`);
  }

  return { element, observe };
}
