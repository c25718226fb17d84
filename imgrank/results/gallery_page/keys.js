"use strict";

// The keyboard, and the beginning: everything is defined, so the page can be filled.

const TYPING = "input, select, textarea, summary";

const GRID_KEYS = {
  ArrowLeft: () => focusTile(state.current - 1),
  ArrowRight: () => focusTile(state.current + 1),
  ArrowUp: () => focusTile(vertical(-1)),
  ArrowDown: () => focusTile(vertical(1)),
  PageUp: () => focusTile(vertical(-rowsAScreen())),
  PageDown: () => focusTile(vertical(rowsAScreen())),
  Home: () => focusTile(0),
  End: () => focusTile(state.shown.length - 1),
  " ": markCurrent,
  x: markCurrent,
  c: () => copyPath(state.shown[state.current]),
};

const VIEW_KEYS = {
  ArrowLeft: () => showInView(viewIndex - 1),
  ArrowRight: () => showInView(viewIndex + 1),
  ArrowUp: () => showInView(viewIndex - 1),
  ArrowDown: () => showInView(viewIndex + 1),
  PageUp: () => showInView(viewIndex - 1),
  PageDown: () => showInView(viewIndex + 1),
  Home: () => showInView(0),
  End: () => showInView(state.shown.length - 1),
  " ": () => toggleMark(viewPlace()),
  x: () => toggleMark(viewPlace()),
  z: () => toggleZoom(),
  i: toggleFacts,
  c: () => copyPath(viewPlace()),
};

function markCurrent() {
  toggleMark(state.shown[state.current]);
  markAnchor = state.current;
}

/** What a key means where the focus is; undefined if the browser's own meaning stands. */
function meaning(event) {
  const { key, target } = event;
  if (byId("help").open) return undefined;
  if (view.open) {
    // Buttons keep Space; the picture at 100 % keeps the arrows, which move it.
    if (key === " " && target.matches("button")) {
      return target === byId("view-close") ? VIEW_KEYS[" "] : undefined;
    }
    if (zoomed && target === stage && key.startsWith("Arrow")) return undefined;
    if (key === "Escape") return zoomed ? () => setZoom(false) : undefined;
    return key === "?" ? openHelp : VIEW_KEYS[key];
  }
  if (key === "?") return openHelp;
  if (key === "/") return () => byId("search").focus();
  if (!state.shown.length) return undefined;
  const onTile = target.closest(".tile");
  if (onTile) return key === " " && target.matches(".mark") ? undefined : GRID_KEYS[key];
  // Nothing has the focus yet: an arrow begins at the current picture.
  const nowhere = target === document.body || target === byId("pictures");
  if (nowhere && key.startsWith("Arrow")) return () => focusTile(state.current);
  return undefined;
}

function openHelp() {
  byId("help").showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.matches(TYPING)) {
    if (event.key === "Escape" && event.target.id === "search") leaveSearch(event);
    else if (event.key === "ArrowDown" && event.target.id === "search") focusTile(state.current);
    return;
  }
  const act = meaning(event);
  if (!act) return;
  event.preventDefault();
  act();
});

/** Esc empties the filter, and once more leaves it. */
function leaveSearch(event) {
  event.preventDefault();
  const search = byId("search");
  if (search.value) {
    search.value = "";
    search.dispatchEvent(new Event("input"));
  } else if (state.shown.length) {
    focusTile(state.current);
  } else {
    search.blur();
  }
}

byId("theme").addEventListener("click", () => theme.turn());
byId("help-open").addEventListener("click", openHelp);

byId("size").value = wantedHeight;
fillOrders();
fillLabels();
fillScatter();
byId("ranges").append(...criteria.map((_, c) => makeRange(c)));
loadMarks();
theme.apply();
choose();
marksChanged();

// The small pictures follow in the file; they are put on their tiles as they come.
const reading = setInterval(fillWaiting, 100);
document.addEventListener("DOMContentLoaded", () => {
  clearInterval(reading);
  fillWaiting();
});
