// Checks files before they are sent: opens folders, and says why a file would be refused.

const KINDS = [
  ["JPEG", [0xff, 0xd8, 0xff]], ["PNG", [0x89, 0x50, 0x4e, 0x47]], ["GIF", [0x47, 0x49, 0x46, 0x38]], ["BMP", [0x42, 0x4d]],
];
const OTHERS = [["a PDF", "%PDF"], ["an SVG drawing", "<svg"], ["an SVG drawing", "<?xml"], ["a web page", "<!DOCTYPE"], ["a web page", "<html"], ["a TIFF", "II*"], ["a TIFF", "MM"]];
const WANTED = "send one JPEG, PNG, WebP, BMP or GIF";

const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

/** Why a file would be refused; empty if it can be sent. */
export async function whyRefused(file, limits) {
  if (file.size === 0) return `this file is empty (0 bytes); ${WANTED}`;
  if (limits?.body_bytes && file.size > limits.body_bytes) {
    return `this file has ${megabytes(file.size)}, and at most ${megabytes(limits.body_bytes)} are accepted; make it smaller`;
  }
  const head = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (KINDS.some(([, marks]) => marks.every((mark, place) => head[place] === mark))) return "";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "";
  if (/^ftyp(heic|heix|mif1|msf1)/.test(text.slice(4))) return `this is HEIC, a format of phones; ${WANTED}`;
  if (/^ftypavi[fs]/.test(text.slice(4))) return `this is AVIF; ${WANTED}`;
  const other = OTHERS.find(([, start]) => text.startsWith(start));
  return other ? `this is ${other[0]}; ${WANTED}` : `this is not a supported image; ${WANTED}`;
}

/** The files of a drop; those of folders, at any depth, by name. */
export async function dropped(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return files.filter((file) => !file.name.startsWith("."));
}

async function walk(entry, files) {
  if (entry.isFile) {
    files.push(await new Promise((resolve, reject) => { entry.file(resolve, reject); }));
    return;
  }
  const reader = entry.createReader();
  for (;;) {  // a reader returns a hundred entries at a time
    const children = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!children.length) return;
    for (const child of children.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }))) await walk(child, files);
  }
}
