"use strict";

// Light or dark: the system's wish, until the reader chooses; the choice is kept if it may be.
// Runs before anything is drawn, so that a dark page never flashes white.

const memory = {
  // localStorage throws where the browser keeps nothing for files.
  get(key) {
    try {
      return localStorage.getItem(`imgrank-${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`imgrank-${key}`, value);
    } catch {
      // Then it holds for this visit.
    }
  },
};

const theme = {
  system: matchMedia("(prefers-color-scheme: dark)"),
  chosen: memory.get("theme"),
  get dark() {
    return this.chosen ? this.chosen === "dark" : this.system.matches;
  },
  apply() {
    document.documentElement.dataset.theme = this.dark ? "dark" : "light";
    document.getElementById("theme")?.setAttribute("aria-pressed", String(this.dark));
    document.dispatchEvent(new Event("themechange"));
  },
  turn() {
    this.chosen = this.dark ? "light" : "dark";
    memory.set("theme", this.chosen);
    this.apply();
  },
};

document.documentElement.dataset.scripted = "";
theme.system.addEventListener("change", () => theme.apply());
theme.apply();
