"use strict";

// Which pictures are shown, in which order, and the controls that say so.

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function letThrough(picture, place) {
  if (state.onlyMarked && !state.marked.has(place)) return false;
  if (state.text) {
    // With a slash, folders count too.
    const where = state.text.includes("/") ? picture.foundPath : picture.found;
    if (!where.includes(state.text)) return false;
  }
  if (state.label && !picture.labels.includes(state.label)) return false;
  return state.ranges.every((range, c) => {
    if (!range) return true;
    const value = picture.values[c] ?? null;
    return value !== null && value >= range[0] && value <= range[1];
  });
}

/** Negative if the first of two places comes before the other; those without a value come last. */
function comparison() {
  const turn = state.reversed ? -1 : 1;
  if (state.order === "rank") {
    const ranked = (place) => Boolean(pictures[place].rank);
    return (a, b) => ranked(b) - ranked(a) || turn * (a - b);
  }
  if (state.order === "name") {
    return (a, b) => turn * collator.compare(pictures[a].name, pictures[b].name) || a - b;
  }
  const c = Number(state.order);
  const way = criteria[c].direction === "ascending" ? turn : -turn;
  return (a, b) => {
    const [one, other] = [pictures[a].values[c] ?? null, pictures[b].values[c] ?? null];
    if (one === null || other === null) return (one === null) - (other === null) || a - b;
    return way * (one - other) || a - b;
  };
}

/** Filters and sorts anew, keeps the current picture current, and shows the outcome. */
function choose() {
  const before = state.shown[state.current];
  state.shown = pictures
    .map((_, place) => place)
    .filter((place) => letThrough(pictures[place], place));
  state.shown.sort(comparison());
  state.current = Math.max(0, state.shown.indexOf(before));
  showCount();
  layOut(false);
  scrollToTop();
  criteria.forEach((_, c) => showRange(c));
  drawScatter();
}

function filtering() {
  return Boolean(state.text || state.label || state.onlyMarked || state.ranges.some(Boolean));
}

function showCount() {
  const [shown, all] = [state.shown.length, pictures.length];
  byId("count").textContent =
    shown === all ? counted(all) : `${shown.toLocaleString("en")} of ${counted(all)}`;
  byId("reset").hidden = !filtering();
  const empty = byId("empty");
  empty.hidden = shown > 0;
  empty.textContent = all
    ? "No picture passes these filters."
    : "There is no picture on this page.";
}

function resetFilters() {
  state.text = state.label = byId("search").value = "";
  byId("label").value = "";
  state.ranges.fill(null);
  for (const parts of rangeParts) {
    if (!parts) continue;
    parts.lower.value = 0;
    parts.upper.value = STEPS;
  }
  showOnlyMarked(false);
  byId("search").focus();
}

/** Called from the full view's labels. */
function filterByLabel(label) {
  state.label = byId("label").value = label;
  choose();
}

// ---- controls -----------------------------------------------------------------------------------

function fillOrders() {
  const options = [
    ["rank", "by rank"],
    ["name", "by name"],
  ];
  criteria.forEach((criterion, c) => {
    // With one criterion, its order is the rank's. Most instructions begin with "by" themselves.
    const text = criterion.name.startsWith("by ") ? criterion.name : `by ${criterion.name}`;
    if (criteria.length > 1) options.splice(c + 1, 0, [String(c), text]);
  });
  byId("order").append(
    ...options.map(([value, text]) => make("option", { value, textContent: text })),
  );
}

/** Labels in groups by what stands before ": ", with the number of their pictures. */
function fillLabels() {
  const kinds = new Map();
  for (const { labels } of pictures) {
    for (const label of labels) {
      const cut = label.indexOf(": ");
      const kind = cut < 0 ? "label" : label.slice(0, cut);
      if (!kinds.has(kind)) kinds.set(kind, new Map());
      kinds.get(kind).set(label, (kinds.get(kind).get(label) ?? 0) + 1);
    }
  }
  if (!kinds.size) return;
  byId("labels-section").hidden = false;
  byId("label").append(make("option", { value: "", textContent: "all" }));
  for (const [kind, numbers] of kinds) {
    const group = make("optgroup", { label: kind });
    for (const [label, number] of [...numbers].sort(([a], [b]) => collator.compare(a, b))) {
      const value = label.startsWith(`${kind}: `) ? label.slice(kind.length + 2) : label;
      // The box shows an option without its group: a mere number would say nothing there.
      const text = /^\d+$/.test(value) ? `${kind} ${value}` : value;
      group.append(make("option", { value: label, textContent: `${text} (${number})` }));
    }
    byId("label").append(group);
  }
}

function fillScatter() {
  if (extents.filter(Boolean).length < 2) return;
  byId("scatter-section").hidden = false;
  for (const axis of ["scatter-x", "scatter-y"]) {
    byId(axis).append(
      ...criteria.map((criterion, c) => make("option", { value: c, textContent: criterion.name })),
    );
    byId(axis).addEventListener("change", drawScatter);
  }
  // The first is often the sum of the others: those say more against each other.
  byId("scatter-x").value = criteria.length > 2 ? 1 : 0;
  byId("scatter-y").value = criteria.length > 2 ? 2 : 1;
}

byId("search").addEventListener("input", () => {
  state.text = byId("search").value.normalize("NFC").toLowerCase();
  choose();
});
byId("label").addEventListener("change", () => {
  state.label = byId("label").value;
  choose();
});
byId("order").addEventListener("change", () => {
  state.order = byId("order").value;
  showWritten(state.order);
  choose();
});
byId("reverse").addEventListener("click", () => {
  state.reversed = !state.reversed;
  byId("reverse").setAttribute("aria-pressed", state.reversed);
  choose();
});
byId("reset").addEventListener("click", resetFilters);
byId("size").addEventListener("input", () => {
  wantedHeight = Number(byId("size").value);
  memory.set("size", wantedHeight);
  layOut();
});
byId("panel-switch").addEventListener("click", () => {
  const open = byId("panel").classList.toggle("unfolded");
  byId("panel-switch").setAttribute("aria-expanded", open);
  if (open) drawScatter();
});
document.addEventListener("themechange", drawScatter);
