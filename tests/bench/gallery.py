"""How smooth a gallery is in headless Chromium: first picture, scrolling, filtering, memory.

    python tests/bench/gallery.py --photos FOLDER --pictures 5000

Thumbnails are made of the folder's JPEGs, the same ones over and over if there are too few. The
window is 1400 x 900; Chromium draws without a graphics card, so a real screen does better. Frames
are measured while the page is scrolled by 90 pixels a frame, and by a 600th of its whole height.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from playwright.sync_api import Page as Tab

from imgrank.images.thumbnail import Thumbnail, Wanted, thumbnails
from imgrank.results.page import Criterion, Page, Picture, write_page

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from gallery_browser import browser

FIRST = """() => {
  const look = () => {
    const image = document.querySelector(".tile img");
    if (image?.complete && image.naturalWidth) window.firstPicture = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""

SCROLL = """async (step) => {
  const frames = [];
  scrollTo(0, 0);
  let last = performance.now();
  for (let y = 0; frames.length < 600; y += step) {
    scrollTo(0, y);
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  frames.sort((a, b) => a - b);
  return [0.5, 0.95, 0.99].map((share) => frames[Math.floor(frames.length * share)]);
}"""

FILTER = """() => {
  const start = performance.now();
  state.text = "1";
  choose();
  void document.body.offsetHeight;
  return performance.now() - start;
}"""


def shots(folder: Path, wanted: int, side: int) -> list[Picture]:
    """Pictures of the folder's JPEGs, with two made-up values each."""
    files = sorted(folder.rglob("*.jpg"))[:wanted]
    if not files:
        raise SystemExit(f"{folder}: no JPEGs")
    made = [
        (file, found)
        for file, found in zip(
            files, thumbnails([Wanted(file, side, side) for file in files], threads=2), strict=True
        )
        if isinstance(found, Thumbnail)
    ]
    return [
        Picture(
            *(file.name, str(file), file.absolute().as_uri(), found.webp),
            *(found.width, found.height, i + 1, 50.0),
            values=(float(wanted - i), float(i % 97)),
            texts=(f"{wanted - i}", f"{i % 97}"),
        )
        for i, (file, found) in enumerate(islice(cycle(made), wanted))
    ]


def measure(tab: Tab, page: Path) -> None:
    """Opens the page and prints its figures."""
    tab.add_init_script(f"({FIRST})()")
    start = time.perf_counter()
    tab.goto(page.as_uri(), wait_until="commit")
    while not tab.evaluate("window.firstPicture"):
        time.sleep(0.01)
    print(f"first picture   {tab.evaluate('window.firstPicture') / 1000:.2f} s")
    tab.wait_for_load_state("load")
    print(f"page read       {time.perf_counter() - start:.2f} s")
    height = tab.evaluate("document.documentElement.scrollHeight")
    for name, step in (("90 pixels", 90), ("1/600", height / 600)):
        median, p95, p99 = tab.evaluate(SCROLL, step)
        print(f"frames, {name:10}{median:.0f} ms, 95 %: {p95:.0f} ms, 99 %: {p99:.0f} ms")
    tiles = tab.locator(".tile").count()
    print(f"filter          {tab.evaluate(FILTER):.0f} ms")
    session = tab.context.new_cdp_session(tab)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    print(f"scripts' memory {used / 1e6:.1f} MB, {tiles} tiles at a time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256, help="of the thumbnails, pixels")
    given = parser.parse_args()
    criteria = [Criterion("quality"), Criterion("other")]
    pictures = shots(given.photos, given.pictures, given.side)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gallery.html")
        with file.open("wb") as stream:
            write_page(Page("Gallery", "", criteria, pictures), stream)
        size = file.stat().st_size
        each = size / given.pictures
        print(f"{given.pictures} pictures, {size / 1e6:.1f} MB, {each:.0f} bytes each")
        with browser() as chrome:
            measure(chrome.new_page(viewport={"width": 1400, "height": 900}), file)


if __name__ == "__main__":
    main()
