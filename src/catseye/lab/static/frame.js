// For every page: the list of chapters on narrow screens, and the glossary's words.

const menu = document.getElementById("menu");
const list = document.getElementById("menu-list");
const tip = document.getElementById("tip");
let shown = null; // the word that the tip explains

function openMenu(open) {
  menu.setAttribute("aria-expanded", String(open));
  if (open) (list.querySelector("[aria-current]") ?? list.querySelector("a")).focus();
}

menu.onclick = () => openMenu(menu.getAttribute("aria-expanded") !== "true");
addEventListener("click", (event) => { if (!event.target.closest("nav[aria-label=Chapters]")) openMenu(false); });
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (menu.getAttribute("aria-expanded") === "true") { openMenu(false); menu.focus(); }
  hideTip();
});

/** The explanation under its word, within the screen; it stays while the pointer is on it. */
function showTip(button) {
  shown = button;
  tip.textContent = document.getElementById(button.getAttribute("aria-describedby")).textContent;
  tip.hidden = false;
  const word = button.getBoundingClientRect(), box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(innerWidth - box.width - 8, word.left));
  const below = word.bottom + 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${below + box.height < innerHeight ? below : Math.max(8, word.top - box.height - 6)}px`;
}

function hideTip() {
  shown = null;
  tip.hidden = true;
}

for (const button of document.querySelectorAll(".term")) {
  button.onpointerenter = button.onfocus = button.onclick = () => showTip(button);
  button.onpointerleave = (event) => { if (event.relatedTarget !== tip && document.activeElement !== button) hideTip(); };
  button.onblur = hideTip;
}
tip.onpointerleave = () => { if (!document.activeElement.matches(".term")) hideTip(); };
// The Tab key scrolls to a word: its explanation moves with it.
addEventListener("scroll", () => {
  if (shown && (shown === document.activeElement || shown.matches(":hover"))) showTip(shown);
  else hideTip();
}, { passive: true });
document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (!document.querySelector("main .opening")) document.documentElement.dataset.ready = "yes"; // a page to read
