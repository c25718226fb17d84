"use strict";

// The full view: the original file as long as the browser can show it, else the small picture.

const view = byId("view");
const stage = byId("stage");
let viewPicture = byId("view-picture");
let viewIndex = 0;
let ahead = null; // the next original, read while this one is looked at
let zoomed = false;
let seen = 0; // the place last shown

const viewPlace = () => state.shown[viewIndex];

function openView(index) {
  if (index < 0 || index >= state.shown.length) return;
  if (!view.open) view.showModal();
  showInView(index);
  byId("view-close").focus();
}

function showInView(index) {
  viewIndex = Math.max(0, Math.min(state.shown.length - 1, index));
  setCurrent(viewIndex);
  seen = viewPlace();
  const picture = pictures[viewPlace()];
  byId("view-place").textContent =
    `${(viewIndex + 1).toLocaleString("en")} of ${state.shown.length.toLocaleString("en")}`;
  byId("view-name").textContent = picture.name;
  byId("view-previous").disabled = viewIndex === 0;
  byId("view-next").disabled = viewIndex === state.shown.length - 1;
  byId("view-note").textContent = "";
  setZoom(false);
  showOriginal(viewPlace());
  showViewMark();
  showFacts(viewPlace());
}

/** The small picture at once, the original as soon as it is read. */
function showOriginal(place) {
  const picture = pictures[place];
  putOnStage(thumbnail(place), place);
  byId("view-zoom").disabled = true;
  const instead = picture.thumbnail
    ? ": this is a smaller copy."
    : ", and there is no copy of it on the page.";
  if (!picture.href) {
    byId("view-note").textContent = `The page has no address of the original${instead}`;
    return;
  }
  const original = new Image();
  original.src = picture.href;
  original.decode().then(
    () => {
      if (viewPlace() !== place || !view.open) return;
      putOnStage(picture.href, place, original);
      byId("view-zoom").disabled = false;
      ahead = new Image();
      ahead.src = pictures[state.shown[viewIndex + 1]]?.href ?? "data:,";
    },
    () => {
      if (viewPlace() !== place || !view.open) return;
      byId("view-note").textContent =
        `The original is not there, or this browser does not show its kind${instead}`;
    },
  );
}

function putOnStage(source, place, image = new Image()) {
  image.id = "view-picture";
  image.alt = described(place);
  image.draggable = false;
  if (image.getAttribute("src") !== source) {
    if (source) image.src = source;
    else image.removeAttribute("src");
  }
  viewPicture.replaceWith(image);
  viewPicture = image;
  sizeOnScreen(place);
}

/**
 * A pixel of the original to a pixel of the screen; the style makes that fit, unless zoomed. So
 * nothing is enlarged, but the small picture, which takes the original's room until that comes.
 */
function sizeOnScreen(place) {
  const ratio = devicePixelRatio || 1;
  const { width, height } = pictures[place];
  const full = viewPicture.getAttribute("src") === pictures[place].href;
  const [wide, high] = full
    ? [viewPicture.naturalWidth, viewPicture.naturalHeight]
    : [width, height];
  viewPicture.style.width = wide ? `${wide / ratio}px` : "";
  viewPicture.style.height = high ? `${high / ratio}px` : "";
}

function closeView() {
  view.close();
}

view.addEventListener("close", () => {
  ahead = null;
  viewPicture.removeAttribute("src");
  // The browser has put the focus back to where the view was opened, and a label may have filtered.
  focusTile(Math.max(0, state.shown.indexOf(seen)));
});

// ---- 100 % --------------------------------------------------------------------------------------

/** One pixel of the picture to one of the screen; `at` is the point, 0 to 1, that stays in view. */
function setZoom(on, at = [0.5, 0.5]) {
  zoomed = on;
  stage.classList.toggle("zoomed", on);
  byId("view-zoom").setAttribute("aria-pressed", on);
  if (!on) {
    for (const name of ["tabindex", "role", "aria-label"]) stage.removeAttribute(name);
    return;
  }
  stage.tabIndex = 0; // so that arrow keys can move it
  stage.setAttribute("role", "region");
  stage.setAttribute("aria-label", "Picture at 100 %, arrow keys move it");
  sizeOnScreen(viewPlace()); // the window may have come to another screen
  stage.scrollLeft = at[0] * viewPicture.offsetWidth - stage.clientWidth / 2;
  stage.scrollTop = at[1] * viewPicture.offsetHeight - stage.clientHeight / 2;
  stage.focus({ preventScroll: true });
}

function toggleZoom(at) {
  if (!byId("view-zoom").disabled) setZoom(!zoomed, at);
}

/** Where in the picture the pointer is, 0 to 1; the picture lies in the middle of its box. */
function pointInPicture(event) {
  const box = viewPicture.getBoundingClientRect();
  const { naturalWidth, naturalHeight } = viewPicture;
  const scale = Math.min(box.width / naturalWidth, box.height / naturalHeight);
  return [
    0.5 + (event.clientX - box.left - box.width / 2) / (naturalWidth * scale),
    0.5 + (event.clientY - box.top - box.height / 2) / (naturalHeight * scale),
  ];
}

let drag = null;
stage.addEventListener("pointerdown", (event) => {
  drag = {
    x: event.clientX,
    y: event.clientY,
    left: stage.scrollLeft,
    top: stage.scrollTop,
    far: 0,
  };
  if (zoomed && event.pointerType === "mouse") stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.far = Math.max(drag.far, Math.hypot(event.clientX - drag.x, event.clientY - drag.y));
  // Fingers scroll by themselves.
  if (!zoomed || event.pointerType !== "mouse") return;
  stage.scrollLeft = drag.left - (event.clientX - drag.x);
  stage.scrollTop = drag.top - (event.clientY - drag.y);
});
stage.addEventListener("pointerup", (event) => {
  const [from, across] = [drag, drag ? event.clientX - drag.x : 0];
  drag = null;
  if (!from) return;
  if (from.far < 6) {
    toggleZoom(pointInPicture(event));
  } else if (!zoomed && event.pointerType !== "mouse" && Math.abs(across) > 50) {
    showInView(viewIndex + (across < 0 ? 1 : -1));
  }
});
stage.addEventListener("pointercancel", () => (drag = null));

// ---- facts --------------------------------------------------------------------------------------

function showViewMark() {
  const on = state.marked.has(viewPlace());
  byId("view-mark").setAttribute("aria-pressed", on);
  byId("view-mark").textContent = on ? "✓ Marked" : "Mark";
}

function showFacts(place) {
  const picture = pictures[place];
  const list = make("dl");
  const add = (term, ...details) =>
    list.append(
      make("dt", { textContent: term }),
      make("dd", {}, ...details.filter((detail) => detail !== null)),
    );
  if (picture.rank) {
    // A percentile can be missing, and 0 is one.
    const better = picture.percentile ?? null;
    const share = better === null ? null : `percentile ${Number(better.toFixed(1))}`;
    add(
      "Rank",
      make("strong", { textContent: picture.rank.toLocaleString("en") }),
      share && quiet(share),
    );
  } else {
    add("Rank", "none");
  }
  criteria.forEach((criterion, c) => {
    add(
      criterion.name,
      picture.texts[c],
      position(c, picture.values[c]),
      criterion.model ? quiet(criterion.model) : null,
    );
  });
  if (picture.labels.length) add("Labels", ...picture.labels.map(labelButton));
  if (picture.note) add("Note", picture.note);
  if (picture.width && picture.height) {
    const millions = ((picture.width * picture.height) / 1e6).toFixed(1);
    add("Size", `${picture.width} × ${picture.height}`, quiet(`${millions} megapixels`));
  }
  const copy = make("button", { type: "button", textContent: "Copy path" });
  copy.setAttribute("aria-keyshortcuts", "c");
  copy.addEventListener("click", () => copyPath(place));
  const doing = make("span", { className: "doing" }, copy);
  if (picture.href) {
    doing.append(
      make("a", {
        href: picture.href,
        target: "_blank",
        rel: "noopener",
        textContent: "Open the file",
      }),
    );
  }
  add("Path", make("span", { className: "path", textContent: picture.path }), doing);
  byId("view-facts").replaceChildren(list);
}

function quiet(text) {
  return make("span", { className: "quiet", textContent: text });
}

/** Where the value lies on the criterion's scale; without one, between the page's own ends. */
function position(c, value) {
  if ((value ?? null) === null) return null;
  const low = Math.min(criteria[c].low ?? Infinity, extents[c][0]);
  const high = Math.max(criteria[c].high ?? -Infinity, extents[c][1]);
  if (low === high) return null;
  const dot = make("span");
  dot.style.left = `${((value - low) / (high - low)) * 100}%`;
  return make("span", { className: "position", "aria-hidden": "true" }, dot);
}

function labelButton(label) {
  const button = make("button", { type: "button", className: "label", textContent: label });
  button.title = "Show only pictures with this label";
  button.addEventListener("click", () => {
    view.close();
    filterByLabel(label);
  });
  return button;
}

function toggleFacts() {
  const off = view.classList.toggle("without-facts");
  byId("view-facts-switch").setAttribute("aria-pressed", !off);
}

byId("view-close").addEventListener("click", closeView);
byId("view-previous").addEventListener("click", () => showInView(viewIndex - 1));
byId("view-next").addEventListener("click", () => showInView(viewIndex + 1));
byId("view-mark").addEventListener("click", () => toggleMark(viewPlace()));
byId("view-zoom").addEventListener("click", () => toggleZoom());
byId("view-facts-switch").addEventListener("click", toggleFacts);
