"use strict";

// Marked pictures: what a reader picks out, kept in this browser, and their paths out of the page.

let markAnchor = 0;

function loadMarks() {
  try {
    const kept = JSON.parse(memory.get(`marks-${pageId}`) ?? "[]");
    for (const place of kept) if (pictures[place]) state.marked.add(place);
  } catch {
    // Not ours: begin anew.
  }
}

function toggleMark(place) {
  setMark(place, !state.marked.has(place));
  marksChanged();
}

function setMark(place, on) {
  if (on) state.marked.add(place);
  else state.marked.delete(place);
}

/** All from the tile that was last marked to this one. */
function markThrough(index) {
  const [first, last] = [Math.min(markAnchor, index), Math.max(markAnchor, index)];
  for (let i = first; i <= last; i++) setMark(state.shown[i], true);
  marksChanged();
}

function marksChanged() {
  memory.set(`marks-${pageId}`, JSON.stringify([...state.marked]));
  const number = state.marked.size;
  byId("marked").hidden = number === 0;
  byId("marked-count").textContent = `${number.toLocaleString("en")} marked`;
  document.body.classList.toggle("with-marks", number > 0);
  for (const [index, tile] of tiles) showMark(tile, state.shown[index]);
  if (byId("view").open) showViewMark();
  // Pictures do not jump away under the hand while only marked ones are shown, until all are gone.
  if (state.onlyMarked && number === 0) showOnlyMarked(false);
}

function showMark(tile, place) {
  const on = state.marked.has(place);
  tile.classList.toggle("on", on);
  const mark = tile.querySelector(".mark");
  mark.setAttribute("aria-pressed", on);
  mark.setAttribute("aria-label", `Mark ${pictures[place].name}`);
}

function showOnlyMarked(on) {
  state.onlyMarked = on;
  byId("marked-only").setAttribute("aria-pressed", on);
  choose();
}

// ---- paths out of the page ----------------------------------------------------------------------

/** Marked paths in the order of the page. `raw` has bytes that are not UTF-8 as lone surrogates. */
function markedPaths() {
  const order = [...state.marked].sort((a, b) => a - b);
  return order.map((place) => pictures[place].raw ?? pictures[place].path);
}

/** The bytes of a path as the file system has them: U+DC80 to U+DCFF stand for 0x80 to 0xFF. */
function pathBytes(path) {
  const bytes = [];
  for (const character of path) {
    const code = character.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code & 0xff);
    else bytes.push(...new TextEncoder().encode(character));
  }
  return bytes;
}

/** A path a line; if one has a line break in it, NUL ends each, as `xargs -0` reads them. */
function saveMarked() {
  const paths = markedPaths();
  const broken = paths.some((path) => path.includes("\n"));
  const bytes = paths.flatMap((path) => [...pathBytes(path), broken ? 0 : 10]);
  const address = URL.createObjectURL(new Blob([new Uint8Array(bytes)], { type: "text/plain" }));
  const link = make("a", { href: address, download: "marked.txt" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
  const how = broken
    ? ", each ended by NUL since a name has a line break (xargs -0 reads them)"
    : "";
  say(`Saved marked.txt with ${counted(paths.length, "path")}${how}.`);
}

async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${what}.`);
  } catch {
    // A page that is not trusted with the clipboard may still copy what is selected.
    const area = make("textarea", { value: text, className: "unseen" });
    const holder = byId("view").open ? byId("view") : document.body;
    const before = document.activeElement;
    holder.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    say(done ? `Copied ${what}.` : "This browser does not let the page copy.");
  }
}

function copyPath(place) {
  return copyText(pictures[place].raw ?? pictures[place].path, "the path");
}

let silence = 0;
/** A sentence at the foot of the page, for some seconds, and for screen readers. */
function say(text) {
  const holder = byId("view").open ? byId("view-said") : byId("said");
  holder.textContent = text;
  holder.classList.add("on");
  clearTimeout(silence);
  silence = setTimeout(() => {
    holder.classList.remove("on");
    if (holder.textContent === text) holder.textContent = "";
  }, 4000);
}

byId("marked-only").addEventListener("click", () => showOnlyMarked(!state.onlyMarked));
byId("marked-copy").addEventListener("click", () =>
  copyText(markedPaths().join("\n"), counted(state.marked.size, "path")),
);
byId("marked-save").addEventListener("click", saveMarked);
byId("marked-clear").addEventListener("click", () => {
  state.marked.clear();
  marksChanged();
  if (!state.onlyMarked) focusTile(state.current);
});
