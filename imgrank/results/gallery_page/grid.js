"use strict";

// The tiles. Only those near the window are in the document, so that thousands stay smooth.

const grid = byId("grid");
const tiles = new Map(); // index in state.shown -> element
let laid = { rows: [], height: 0 };
let wantedHeight = Number(memory.get("size")) || 190;

function captionHeight() {
  const lines = state.written.filter(Boolean).length;
  return criteria.length > 1 ? 22 + lines * 17 : 24;
}

/** Lays all tiles out anew: after a filter, another order, another width or size. */
function layOut(stay = true) {
  const width = grid.clientWidth;
  if (!width) return;
  const anchor = stay ? anchorIndex() : null;
  const caption = captionHeight();
  // On a narrow screen two landscapes still stand side by side.
  const wanted = Math.min(wantedHeight, Math.max(80, width * 0.36 * (wantedHeight / 190)));
  laid = layRows(state.shown, width, wanted, caption);
  grid.style.height = `${laid.height}px`;
  const focused = grid.contains(document.activeElement);
  for (const element of tiles.values()) element.remove();
  tiles.clear();
  state.current = Math.min(state.current, Math.max(0, state.shown.length - 1));
  if (anchor !== null && laid.rows.length) {
    const { top } = laid.rows[rowOf(Math.min(anchor, state.shown.length - 1))];
    scrollTo({
      top: grid.getBoundingClientRect().top + scrollY + top - headHeight() - GAP,
      behavior: "instant",
    });
  }
  drawNear();
  if (focused) focusTile(state.current);
}

/** The first picture of the first row in the window; null where the top of the grid is. */
function anchorIndex() {
  const above = headHeight() - grid.getBoundingClientRect().top;
  if (above <= GAP || !laid.rows.length) return null;
  return laid.rows[rowAt(laid.rows, above + GAP)].first;
}

/** What sticks to the top covers so much of the window. */
function headHeight() {
  const head = document.querySelector(".top");
  return getComputedStyle(head).position === "sticky" ? head.offsetHeight : 0;
}

/** After a filter, or in another order, reading begins at the top. */
function scrollToTop() {
  const above = headHeight() - grid.getBoundingClientRect().top;
  if (above > GAP) scrollBy({ top: -above - GAP, behavior: "instant" });
}

/** Puts the tiles within a screen of the window into the document, and takes the others out. */
function drawNear() {
  if (!laid.rows.length) return;
  const above = -grid.getBoundingClientRect().top;
  const margin = innerHeight * 0.8;
  const firstRow = rowAt(laid.rows, above - margin - laid.rows[0].height);
  const lastRow = rowAt(laid.rows, above + innerHeight + margin);
  const first = laid.rows[firstRow].first;
  const end = laid.rows[lastRow].first + laid.rows[lastRow].tiles.length;
  // The current tile stays, wherever the window is: focus must not get lost by scrolling.
  for (const [index, element] of tiles) {
    if ((index < first || index >= end) && index !== state.current) {
      element.remove();
      tiles.delete(index);
    }
  }
  for (let r = firstRow; r <= lastRow; r++) drawRow(laid.rows[r]);
  if (state.shown.length && !tiles.has(state.current))
    drawRow(laid.rows[rowOf(state.current)], state.current);
}

function drawRow(row, only = null) {
  row.tiles.forEach(({ left, width }, i) => {
    const index = row.first + i;
    if (tiles.has(index) || (only !== null && index !== only)) return;
    const element = makeTile(index, row.height);
    Object.assign(element.style, { left: `${left}px`, top: `${row.top}px`, width: `${width}px` });
    tiles.set(index, element);
    grid.insertBefore(element, following(index));
  });
}

/** The tile that this one goes before: the document's order is the reading order. */
function following(index) {
  let next = null;
  for (const [other, element] of tiles) {
    if (other > index && (next === null || other < next.other)) next = { other, element };
  }
  return next?.element ?? null;
}

function makeTile(index, height) {
  const place = state.shown[index];
  const picture = pictures[place];
  const open = make("button", {
    type: "button",
    className: "open",
    tabIndex: index === state.current ? 0 : -1,
    title: picture.path,
  });
  const frame = make("span", { className: "frame" });
  frame.style.height = `${height}px`;
  frame.append(smallPicture(place));
  open.append(frame, caption(picture));
  const mark = make("button", { type: "button", className: "mark", tabIndex: -1 });
  mark.append(make("span", { "aria-hidden": "true", textContent: "✓" }));
  const tile = make("li", { className: "tile" }, open, mark);
  tile.setAttribute("aria-posinset", index + 1);
  tile.setAttribute("aria-setsize", state.shown.length);
  open.addEventListener("click", () => openView(index));
  open.addEventListener("focus", () => setCurrent(index));
  mark.addEventListener("click", (event) => {
    if (event.shiftKey) markThrough(index);
    else toggleMark(place);
    setCurrent(index);
    markAnchor = index;
  });
  showMark(tile, place);
  return tile;
}

/** An image, or words where there is none; it waits as long as the page is still read. */
function smallPicture(place) {
  const picture = pictures[place];
  if (!picture.thumbnail) {
    return make(
      "span",
      { className: "none", role: "img", "aria-label": described(place) },
      "no picture",
    );
  }
  const image = make("img", { alt: described(place), decoding: "async", draggable: false });
  const source = thumbnail(place);
  if (source) image.src = source;
  else image.dataset.waiting = place;
  return image;
}

/** Rank, and the values; hidden from screen readers, who get them from the picture's text. */
function caption(picture) {
  const lines = make("span", { className: "caption", "aria-hidden": "true" });
  const first = make("span", { className: "line" });
  if (picture.rank) first.append(make("b", { textContent: picture.rank }));
  lines.append(first);
  if (criteria.length > 1) {
    first.append(make("span", { className: "name", textContent: picture.name }));
    criteria.forEach((criterion, c) => {
      if (!state.written[c]) return;
      const value = picture.values[c] ?? null;
      const text = value === null ? "-" : brief(value, c, false);
      lines.append(
        make(
          "span",
          { className: "line" },
          make("span", { className: "name", textContent: criterion.name }),
          make("span", { className: "value", textContent: text }),
        ),
      );
    });
  } else {
    first.append(make("span", { className: "name", textContent: picture.name }));
    const value = picture.values[0];
    if (value !== null && value !== undefined) {
      first.append(make("span", { className: "value", textContent: brief(value, 0, false) }));
    }
  }
  return lines;
}

/** Small pictures that were not yet read when their tiles were drawn. */
function fillWaiting() {
  for (const image of grid.querySelectorAll("img[data-waiting]")) {
    const source = thumbnail(image.dataset.waiting);
    if (source) {
      image.src = source;
      delete image.dataset.waiting;
    }
  }
}

// ---- moving -------------------------------------------------------------------------------------

function rowOf(index) {
  let low = 0;
  let high = laid.rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (laid.rows[middle].first <= index) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Only the current tile is in the order of the Tab key; arrows do the rest. */
function setCurrent(index) {
  tiles.get(state.current)?.querySelector(".open").setAttribute("tabindex", -1);
  state.current = index;
  tiles.get(index)?.querySelector(".open").setAttribute("tabindex", 0);
}

/** Scrolls so that the tile is in the window, and puts the focus on it. */
function focusTile(index) {
  if (!state.shown.length) return;
  setCurrent(Math.max(0, Math.min(state.shown.length - 1, index)));
  const row = laid.rows[rowOf(state.current)];
  const gridTop = grid.getBoundingClientRect().top + scrollY;
  const foot = byId("marked").hidden ? 0 : byId("marked").offsetHeight + 16;
  const top = gridTop + row.top - headHeight() - GAP;
  const bottom = gridTop + row.top + row.height + captionHeight() + GAP + foot;
  if (top < scrollY) scrollTo({ top, behavior: "instant" });
  else if (bottom > scrollY + innerHeight)
    scrollTo({ top: bottom - innerHeight, behavior: "instant" });
  drawNear();
  tiles.get(state.current)?.querySelector(".open").focus({ preventScroll: true });
}

/** The tile in the row `step` above or below whose middle is nearest. */
function vertical(step) {
  const from = rowOf(state.current);
  const to = Math.max(0, Math.min(laid.rows.length - 1, from + step));
  if (to === from) return state.current;
  const { left, width } = laid.rows[from].tiles[state.current - laid.rows[from].first];
  const middle = left + width / 2;
  let best = 0;
  laid.rows[to].tiles.forEach((tile, i) => {
    const other = laid.rows[to].tiles[best];
    if (
      Math.abs(tile.left + tile.width / 2 - middle) <
      Math.abs(other.left + other.width / 2 - middle)
    )
      best = i;
  });
  return laid.rows[to].first + best;
}

function rowsAScreen() {
  const row = laid.rows[rowOf(state.current)];
  return Math.max(1, Math.floor((innerHeight * 0.8) / (row.height + captionHeight() + GAP)));
}

let drawing = false;
addEventListener(
  "scroll",
  () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      drawNear();
    });
  },
  { passive: true },
);

new ResizeObserver(() => {
  document.documentElement.style.setProperty("--head", `${headHeight()}px`);
}).observe(document.querySelector(".top"));

let lastWidth = 0;
new ResizeObserver(() => {
  if (grid.clientWidth === lastWidth) return;
  lastWidth = grid.clientWidth;
  layOut();
}).observe(grid);
