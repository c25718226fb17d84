"use strict";

// A histogram a criterion; it is also the filter: two handles below it, or a stroke across it.

const BINS = 40;
const STEPS = 200; // of a handle, from end to end
const SVG = "http://www.w3.org/2000/svg";
const rangeParts = [];

/** Where a step of the handles lies, in the criterion's unit. */
function stepValue(c, step) {
  const [low, high] = extents[c];
  return low + ((high - low) * step) / STEPS;
}

function binOf(c, value) {
  const [low, high] = extents[c];
  return Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS));
}

function makeRange(c) {
  const criterion = criteria[c];
  const id = `range-${c}`;
  const section = make("section", { className: "range", "aria-labelledby": id });
  const head = make("div", { className: "range-head" });
  head.append(make("h2", { id, textContent: criterion.name }));
  if (criteria.length > 1) head.append(writtenSwitch(c));
  section.append(head);
  const missing = pictures.filter((picture) => (picture.values[c] ?? null) === null).length;
  if (!extents[c]) {
    section.append(make("p", { className: "quiet", textContent: "no picture has a value" }));
    return section;
  }
  const [low, high] = extents[c];
  const ends = make("p", { className: "ends" });
  if (low < high) {
    const svg = makeBars(c);
    const handles = make("div", { className: "handles" });
    const lower = makeHandle(c, "lowest", 0);
    const upper = makeHandle(c, "highest", STEPS);
    const track = make("span", { className: "track" });
    handles.append(track, lower, upper);
    rangeParts[c] = { svg, lower, upper, track, ends };
    brush(c, svg);
    section.append(svg, handles);
    ends.append(make("span"), make("span"));
  } else {
    ends.textContent = `${brief(low, c)}, the only value`;
  }
  section.append(ends);
  const notes = [criterion.model, missing ? `${missing.toLocaleString("en")} without` : ""];
  const note = notes.filter(Boolean).join(" · ");
  if (note) section.append(make("p", { className: "quiet model", textContent: note }));
  if (rangeParts[c]) showRange(c);
  return section;
}

function writtenSwitch(c) {
  const box = make("input", { type: "checkbox", id: `written-${c}`, checked: state.written[c] });
  box.setAttribute("aria-label", `Show ${criteria[c].name} below the pictures`);
  box.addEventListener("change", () => {
    state.written[c] = box.checked;
    layOut();
  });
  return make("label", { className: "quiet" }, box, " show");
}

/** What pictures are in the order of is written below them. */
function showWritten(c) {
  if (!(c in criteria)) return; // by rank, by name
  state.written[c] = true;
  byId(`written-${c}`).checked = true;
}

function makeBars(c) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${BINS * 6} 64`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "bars");
  svg.setAttribute("aria-hidden", "true"); // the handles say it in words
  for (let b = 0; b < BINS; b++) {
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("x", b * 6 + 0.5);
    bar.setAttribute("width", 5);
    svg.append(bar);
  }
  return svg;
}

function makeHandle(c, which, step) {
  const handle = make("input", { type: "range", min: 0, max: STEPS, value: step });
  handle.setAttribute("aria-label", `${criteria[c].name}, ${which}`);
  handle.addEventListener("input", () => {
    const { lower, upper } = rangeParts[c];
    // A handle stops at the other one.
    if (which === "lowest" && +lower.value > +upper.value) lower.value = upper.value;
    if (which === "highest" && +upper.value < +lower.value) upper.value = lower.value;
    rangeMoved(c);
  });
  return handle;
}

function rangeMoved(c) {
  const { lower, upper } = rangeParts[c];
  const [first, last] = [+lower.value, +upper.value];
  const whole = first === 0 && last === STEPS;
  // At the ends the very value counts, not one that rounding has moved past it.
  state.ranges[c] = whole
    ? null
    : [
        first === 0 ? extents[c][0] : stepValue(c, first),
        last === STEPS ? extents[c][1] : stepValue(c, last),
      ];
  choose();
}

/** A stroke across the histogram takes what is below it; a mere click takes all again. */
function brush(c, svg) {
  let start = null;
  const step = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.round(Math.max(0, Math.min(1, share)) * STEPS);
  };
  svg.addEventListener("pointerdown", (event) => {
    start = step(event);
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const end = step(event);
    setHandles(c, Math.min(start, end), Math.max(start, end));
  });
  const finish = (event) => {
    if (start !== null && Math.abs(step(event) - start) < 2) setHandles(c, 0, STEPS);
    start = null;
  };
  svg.addEventListener("pointerup", finish);
  svg.addEventListener("pointercancel", () => (start = null));
}

function setHandles(c, first, last) {
  const { lower, upper } = rangeParts[c];
  lower.value = first;
  upper.value = last;
  rangeMoved(c);
}

/** Heights of all pictures behind, of those shown in front; handles and words. */
function showRange(c) {
  const parts = rangeParts[c];
  if (!parts) return;
  const { svg, lower, upper, track, ends } = parts;
  const counts = new Array(BINS).fill(0);
  for (const { values } of pictures) {
    if ((values[c] ?? null) !== null) counts[binOf(c, values[c])]++;
  }
  const most = Math.max(1, ...counts);
  const [first, last] = [+lower.value, +upper.value];
  counts.forEach((count, b) => {
    // Square roots, so that a few pictures at the ends are still seen; never lower than a line.
    const height = count ? Math.max(2, 64 * Math.sqrt(count / most)) : 0;
    const bar = svg.children[b];
    bar.setAttribute("y", 64 - height);
    bar.setAttribute("height", height);
    const middle = ((b + 0.5) / BINS) * STEPS;
    bar.classList.toggle("off", middle < first || middle > last);
  });
  track.style.left = `${(first / STEPS) * 100}%`;
  track.style.right = `${100 - (last / STEPS) * 100}%`;
  const words = [lower, upper].map((handle) => brief(stepValue(c, +handle.value), c));
  lower.setAttribute("aria-valuetext", words[0]);
  upper.setAttribute("aria-valuetext", words[1]);
  // The lower handle must stay reachable where both lie on each other at the right end.
  lower.style.zIndex = first > STEPS / 2 ? 2 : 1;
  upper.style.zIndex = first > STEPS / 2 ? 1 : 2;
  ends.children[0].textContent = words[0];
  ends.children[1].textContent = words[1];
}

// ---- two values against each other --------------------------------------------------------------

const scatter = { canvas: byId("scatter"), points: [] };

function drawScatter() {
  if (byId("scatter-section").hidden) return;
  const { canvas } = scatter;
  const [x, y] = [+byId("scatter-x").value, +byId("scatter-y").value];
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth || 256, canvas.clientHeight || 190];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const ink = canvas.getContext("2d");
  ink.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  scatter.points = [];
  canvas.setAttribute(
    "aria-label",
    `${criteria[x].name} across, ${criteria[y].name} up, a point a picture`,
  );
  if (!extents[x] || !extents[y]) return;
  const scale = (c, value, length) => {
    const [low, high] = extents[c];
    return 5 + (high > low ? (value - low) / (high - low) : 0.5) * (length - 10);
  };
  const shown = new Set(state.shown);
  const draw = (wanted, colour) => {
    ink.fillStyle = colour;
    ink.globalAlpha = wanted ? 0.6 : 1; // so that crowds show
    pictures.forEach(({ values }, place) => {
      if (
        shown.has(place) !== wanted ||
        (values[x] ?? null) === null ||
        (values[y] ?? null) === null
      )
        return;
      const [across, up] = [scale(x, values[x], width), height - scale(y, values[y], height)];
      ink.fillRect(across - 1.5, up - 1.5, 3, 3);
      if (wanted) scatter.points.push([across, up, place]);
    });
  };
  draw(false, style.borderTopColor);
  draw(true, style.color);
}

scatter.canvas.addEventListener("click", (event) => {
  let best = null;
  for (const [across, up, place] of scatter.points) {
    const distance = Math.hypot(across - event.offsetX, up - event.offsetY);
    if (distance < 12 && (best === null || distance < best.distance)) best = { distance, place };
  }
  if (best) openView(state.shown.indexOf(best.place));
});
