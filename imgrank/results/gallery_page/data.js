"use strict";

// What the page knows, what the reader asked for, and values as text.
//
// A picture is named everywhere by its place in `pictures`, the order in which it was written.

const { id: pageId, criteria, pictures } = JSON.parse(document.getElementById("data").textContent);

for (const picture of pictures) {
  picture.labels ??= [];
  picture.values ??= [];
  picture.texts ??= [];
  picture.found = picture.name.normalize("NFC").toLowerCase();
  picture.foundPath = picture.path.normalize("NFC").toLowerCase();
}

const state = {
  text: "",
  label: "",
  // One a criterion: null, or the [low, high] that is let through.
  ranges: criteria.map(() => null),
  // Which criteria are written on the tiles.
  written: criteria.map((_, c) => c < 3),
  order: "rank",
  reversed: false,
  onlyMarked: false,
  marked: new Set(),
  // Places, in the order in which they are shown; `current` is an index of it.
  shown: [],
  current: 0,
};

const byId = (id) => document.getElementById(id);

/** An element with properties; `data-` and `aria-` names and the like become attributes. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** The small picture as an address; "" as long as the page is still being read, or without one. */
function thumbnail(place) {
  const text = pictures[place].thumbnail ? byId(`t${place}`)?.textContent : "";
  return text ? `data:image/webp;base64,${text}` : "";
}

/** A value for eyes: as many digits as tell the page's values apart; dates as dates. */
function brief(value, c, withUnit = true) {
  const { unit } = criteria[c];
  if (unit === "s since 1970") {
    const date = new Date(value * 1000);
    return Number.isNaN(date.getTime()) ? String(value) : date.toISOString().slice(0, 10);
  }
  const number = value.toFixed(decimals[c]);
  return withUnit && unit ? `${number} ${unit}` : number;
}

/** "1,234 pictures", "1 picture". */
function counted(number, noun = "picture") {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** What a tile or the full view is called: rank, name and scores in one line. */
function described(place) {
  const picture = pictures[place];
  const rank = picture.rank ? `${picture.rank}. ` : "";
  const scores = criteria.map((criterion, c) =>
    criteria.length > 1 ? `${criterion.name} ${picture.texts[c]}` : picture.texts[c],
  );
  return `${rank}${[picture.name, ...scores].join(", ")}`;
}

/** Lowest and highest value that any picture has, or null. */
function extent(c) {
  let low = Infinity;
  let high = -Infinity;
  for (const picture of pictures) {
    const value = picture.values[c];
    if (value === null || value === undefined) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

const extents = criteria.map((_, c) => extent(c));

// A hundredth of what lies between the ends is what a reader may want to tell apart.
const decimals = extents.map((ends) => {
  const width = ends ? ends[1] - ends[0] || Math.abs(ends[0]) : 0;
  return width > 0 ? Math.max(0, Math.min(8, 2 - Math.floor(Math.log10(width)))) : 0;
});
