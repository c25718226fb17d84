"""A real headless browser for the gallery's tests, and what it is asked of a page.

Chromium is found under its usual names; Playwright drives it through a pipe, so sockets stay
blocked. The page's own policy forbids `eval`, which Playwright's `wait_for_function` needs: wait
with `expect`.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from playwright.sync_api import Page as Tab

from imgrank.results.page import Criterion, Page, Picture, write_page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const out = [];
  const dialogs = [...document.querySelectorAll("dialog[open]")];
  for (const e of (dialogs.at(-1) ?? document.body).querySelectorAll("*")) {
    const words = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = e.getBoundingClientRect();
    if (!words || !box.width || e.matches("script, style, .mark *, :disabled")) continue;
    if (!e.checkVisibility({ visibilityProperty: true })) continue;
    const [one, other] = [light(channels(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    out.push([e.textContent.trim().slice(0, 40), Math.round(ratio * 100) / 100]);
  }
  return out;
}"""
"""Text of every element that is seen and has words of its own, and its contrast (WCAG 2)."""

WIDGETS = {"button", "link", "searchbox", "combobox", "slider", "checkbox", "image", "dialog"}
WIDGETS |= {"main", "complementary", "region", "Canvas"}


Opener = Callable[..., Tab]
"""Opens the page at an address, with Playwright's options of a browser context."""


def chromium() -> str | None:
    """The browser's program, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


needs_chromium = pytest.mark.skipif(
    chromium() is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()


class Watch:
    """What went wrong in a tab, and what it asked for, besides data in the page."""

    def __init__(self, tab: Tab) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        tab.on("console", self._console)
        tab.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: self._asked(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, url: str) -> None:
        if not url.startswith("data:"):
            self.requests.append(url)


def webp(colour: tuple[int, int, int], size: tuple[int, int] = (48, 32)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "WEBP")
    return stream.getvalue()


def picture(place: int, name: str, value: float | None, **other: Any) -> Picture:
    """Rank place + 1; by default a thumbnail in landscape, and an original of 900 x 600."""
    text = "-" if value is None else f"{value:g} MOS"
    members: dict[str, Any] = {
        "path": f"photos/{name}",
        "href": quote_from_bytes(name.encode("utf-8", "surrogateescape")),
        "thumbnail": webp((place * 37 % 256, place * 91 % 256, 120)),
        "rank": place + 1,
        "percentile": 50.0,
        "values": (value,),
        "texts": (text,),
    }
    return Picture(**({"name": name, "width": 900, "height": 600} | members | other))


QUALITY = Criterion("quality", "MOS", "descending", "tiny-quality")
CRITERIA = (QUALITY, Criterion("brightness", "%"), Criterion("size", "bytes", "ascending"))


def dozen() -> list[Picture]:
    """Qualities 11 down to 0; names that sort otherwise; every third is of one label."""
    return [
        picture(i, f"shot{(i * 5) % 12 + 1}.jpg", float(11 - i), labels=(f"group: {i % 3}",))
        for i in range(12)
    ]


def several() -> list[Picture]:
    """Three criteria; the middle picture has no value of the third, which runs lowest first."""
    table = {
        "p10.jpg": (3.0, 10.0, 2000.0),
        "p9.jpg": (2.0, 30.0, None),
        "P1.jpg": (1.0, 20.0, 1000.0),
    }
    return [
        picture(i, name, None, values=values, texts=tuple(map(str, values)))
        for i, (name, values) in enumerate(table.items())
    ]


def save(
    folder: Path,
    pictures: Sequence[Picture],
    criteria: Sequence[Criterion] = (QUALITY,),
    **other: Any,
) -> str:
    """Writes the page into the folder; its address."""
    file = folder / "gallery.html"
    with file.open("wb") as stream:
        write_page(Page("A walk", "how it was made", criteria, pictures, **other), stream)
    return file.as_uri()


def names(tab: Tab) -> list[tuple[str, str]]:
    """Role and name of what can be used or is a place, by the browser's own accessibility tree."""
    tree = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"] and node["role"]["value"] in WIDGETS
    ]


def shown(tab: Tab) -> list[str]:
    """Names on the tiles, in order."""
    return tab.locator(".tile .line:first-child .name").all_inner_texts()
