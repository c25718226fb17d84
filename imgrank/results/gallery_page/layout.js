"use strict";

// Where the tiles go: rows of equal height that fill the width, each picture in its own proportion.

const GAP = 10;
// Panoramas and columns are shown whole inside a tile of at most these proportions.
const NARROWEST = 0.66;
const WIDEST = 2.2;

function proportion(picture) {
  if (!picture.width || !picture.height) return 1;
  return Math.min(WIDEST, Math.max(NARROWEST, picture.width / picture.height));
}

/**
 * Rows for the places shown.
 *
 * width: of the grid, pixels.   wanted: height of a picture.   caption: of the text below it.
 * Returns rows {top, height, first, tiles: [{left, width}]} and the height of all.
 */
function layRows(shown, width, wanted, caption) {
  const rows = [];
  let top = 0;
  let first = 0;
  let sum = 0;
  const finish = (end, height) => {
    let left = 0;
    const tiles = [];
    for (let i = first; i < end; i++) {
      const wide = proportion(pictures[shown[i]]) * height;
      tiles.push({ left, width: wide });
      left += wide + GAP;
    }
    rows.push({ top, height, first, tiles });
    top += height + caption + GAP;
    first = end;
    sum = 0;
  };
  for (let i = 0; i < shown.length; i++) {
    const gaps = (i - first) * GAP;
    const own = proportion(pictures[shown[i]]);
    // The row is full if it then comes out at the height wanted or below; the nearer cut is taken.
    const fitting = (width - gaps) / (sum + own);
    if (fitting < wanted && i > first) {
      const without = (width - gaps + GAP) / sum;
      if (without - wanted < wanted - fitting) finish(i, without);
    }
    sum += own;
    const height = (width - (i - first) * GAP) / sum;
    if (height <= wanted) finish(i + 1, height);
  }
  if (first < shown.length) {
    const full = (width - (shown.length - 1 - first) * GAP) / sum;
    finish(shown.length, Math.min(wanted, full));
  }
  return { rows, height: Math.max(0, top - GAP) };
}

/** Index of the last row that begins at or above `top`; 0 if none does. */
function rowAt(rows, top) {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle].top <= top) low = middle;
    else high = middle - 1;
  }
  return low;
}
