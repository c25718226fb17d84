"""Speed and memory of `imgrank sort` on the embedded model, as ratios measured in one run.

    python tests/bench/speed.py [--photos FOLDER] [--count 48] [--rounds 3]

* cold: pictures per second of a cold sort of camera JPEGs, against `plain.py` on the same files,
  the two taking turns; both without the time to import and load.
* memory: peak of a cold sort, above a bare `import open_clip`, for a few and for many pictures.
* draft: SRCC of the scores with draft decoding against those with full decoding.
* known: CPU seconds (user + system) of a sort of 10,000 pictures whose scores are known.
* help: CPU seconds of `imgrank --help`.
* stall: milliseconds a picture of the model alone while another program keeps one core busy.

FOLDER holds JPEGs of 8 megapixels and more; each is turned into several different ones by
re-encoding crops of it. Without it, pictures of 12 megapixels are drawn.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).parent
IMGRANK = [sys.executable, "-m", "imgrank"]
TINY = Path(__file__).parents[2] / "imgrank" / "weights" / "tiny"
QUALITY = "by image quality"


def run(command: list[str], home: Path, **kwargs: str) -> tuple[str, float, float, int]:
    """Standard output, CPU seconds, wall seconds, peak bytes of a command of its own."""
    before = time.perf_counter()
    # On torch unless said otherwise: a first run with ONNX Runtime pays for an export.
    env = {**os.environ, "IMGRANK_HOME": str(home), "IMGRANK_ENGINE": "torch", **kwargs}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
    assert process.stdout is not None
    out = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with {process.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return out, usage.ru_utime + usage.ru_stime, time.perf_counter() - before, peak


def camera_pictures(source: Path | None, folder: Path, count: int) -> list[Path]:
    """`count` different JPEGs of 8 to 16 megapixels."""
    originals = [drawn(seed) for seed in range(3)] if source is None else large(source)
    paths = []
    for i in range(count):
        image = originals[i % len(originals)]
        offset = 8 * (i // len(originals))  # a different crop: different content, same cost
        box = (offset, offset, image.width, image.height)
        path = folder / f"{i:04d}.jpg"
        image.crop(box).save(path, quality=93)
        paths.append(path)
    return paths


def large(source: Path) -> list[Image.Image]:
    found = []
    for path in sorted(source.rglob("*.jp*g")):
        try:
            image = Image.open(path)
            if image.width * image.height >= 8_000_000:
                found.append(image.convert("RGB"))
        except (OSError, SyntaxError):
            continue
    if not found:
        raise SystemExit(f"no JPEG of 8 megapixels or more in {source}")
    return found


def drawn(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8))
    image = small.filter(ImageFilter.GaussianBlur(2)).resize((4000, 3000), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 4, (3000, 4000, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


COLD = """
import sys, time
from imgrank import api
from imgrank.images.scan import scan
from imgrank.rankers.load import load_source
from imgrank.settings import load_settings
from pathlib import Path
load_source(None, load_settings()).backbone.visual   # loading is not counted, as in plain.py
import imgrank.rankers.adapter, imgrank.models.adapter
started = time.perf_counter()
rows = api.sort(sys.argv[1], "by image quality")
print(len(rows), time.perf_counter() - started)
"""


def cold(pictures: list[Path], home: Path, rounds: int) -> None:
    ratios = []
    for i in range(rounds):
        folder = str(pictures[0].parent)
        ours = [sys.executable, "-c", COLD, folder]
        count, seconds = map(float, run(ours, home / f"cold{i}")[0].split())
        plain = [sys.executable, str(HERE / "plain.py"), str(TINY), *map(str, pictures)]
        _, plain_seconds = map(float, run(plain, home)[0].split())
        ratios.append(plain_seconds / seconds)
        print(
            f"cold, round {i + 1}: {count / seconds:.1f} pictures/s, plain way "
            f"{count / plain_seconds:.1f}/s, ratio {ratios[-1]:.2f}"
        )
    print(f"cold: {statistics.median(ratios):.2f} times the plain way (median of {rounds})")


def memory(pictures: list[Path], home: Path) -> None:
    *_, bare = run([sys.executable, "-c", "import open_clip"], home)
    for count in (len(pictures) // 4, len(pictures)):
        chosen = list(map(str, pictures[:count]))
        *_, peak = run([*IMGRANK, "sort", *chosen, QUALITY], home / f"memory{count}")
        print(
            f"memory: {count} pictures, peak {peak / 1e6:.0f} MB, "
            f"{(peak - bare) / 1e6:.0f} MB above a bare import of open_clip"
        )


def draft(originals: list[Path], home: Path, folder: Path) -> None:
    from scipy.stats import spearmanr

    from imgrank.images.decode import decode, to_square
    from imgrank.instruction import parse
    from imgrank.rankers.load import route
    from imgrank.settings import load_settings

    folder.mkdir()
    paths = degraded(originals, folder)
    job = route(parse(QUALITY), load_settings(home=home))
    source = job.ranker.source
    size = source.spec.image_size  # type: ignore[attr-defined]
    scores: dict[int | None, list[float]] = {}
    for limit in (size, None):
        prepared = [to_square(decode(p.read_bytes(), limit), size) for p in paths]
        features = source.compute(prepared)
        scores[limit] = [row[0].value for row in job.ranker.score(features, [job.query]) if row[0]]
    srcc = spearmanr(scores[size], scores[None]).statistic
    print(f"draft: SRCC {srcc:.4f} of draft against full decoding, {len(paths)} photographs")


def degraded(originals: list[Path], folder: Path) -> list[Path]:
    """Parts of the photographs at several scales, as they are and mildly degraded."""
    rng, paths = np.random.default_rng(0), []
    for number, original in enumerate(originals):
        image = Image.open(original)
        for k in range(60 // len(originals) + 1):
            scale = rng.uniform(0.35, 1)
            w, h = int(image.width * scale), int(image.height * scale)
            x, y = rng.integers(0, image.width - w + 1), rng.integers(0, image.height - h + 1)
            part = image.crop((x, y, x + w, y + h))
            if k % 3 == 1:
                part = part.filter(ImageFilter.GaussianBlur(rng.uniform(1, 8)))
            path = folder / f"{number}-{k}.jpg"
            part.save(path, quality=int(rng.integers(15, 96)) if k % 3 == 2 else 93)
            paths.append(path)
    return paths


def known(folder: Path, home: Path, rounds: int) -> None:
    """Seeds the store with a score for every file, then sorts by it."""
    from imgrank.images import ImageFile
    from imgrank.images.scan import scan
    from imgrank.instruction import parse
    from imgrank.rankers.load import route
    from imgrank.settings import load_settings
    from imgrank.store.digest import digest_file
    from imgrank.store.store import Batch, FileRow, Score, ScoreRow, Store

    folder.mkdir()
    for i in range(10_000):
        picture = Image.new("RGB", (8, 8), (i % 256, i // 256, 7))
        picture.save(folder / f"{i:05d}.png", compress_level=1)
    settings = load_settings(home=home)
    job = route(parse(QUALITY), settings)
    files = [f for f in scan([folder]) if isinstance(f, ImageFile)]
    rows = [FileRow(f, digest_file(f.path)) for f in files]
    with Store(settings.store_path) as store:
        keys = (job.ranker.identity, job.answer.prompt)
        scores = [ScoreRow(r.digest, *keys, Score(i % 997 / 200)) for i, r in enumerate(rows)]
        store.put(Batch(files=rows, scores=scores))
    command = [*IMGRANK, "sort", str(folder), QUALITY]
    lines = run(command, home)[0].splitlines()
    assert len(lines) == 10_001, len(lines)
    seconds = [run(command, home)[1] for _ in range(rounds)]
    print(f"known: {statistics.median(seconds):.2f} s CPU for 10,000 known scores")
    seconds = [run([*IMGRANK, "--help"], home)[1] for _ in range(rounds)]
    print(f"help: {statistics.median(seconds):.2f} s CPU")


def stall(rounds: int) -> None:
    """A batch of 8 through `tiny` while another program keeps one core busy."""
    from imgrank.models.backbone import Backbone

    backbone = Backbone(TINY)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), np.uint8)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for name, run_batch in (
            ("batches side by side", backbone.encode_images),
            ("one batch on all cores", lambda p: backbone._encode(list(p))),
        ):
            run_batch(pixels)
            started = time.perf_counter()
            for _ in range(rounds):
                run_batch(pixels)
            milliseconds = (time.perf_counter() - started) / rounds / 8 * 1000
            print(f"stall: {milliseconds:.0f} ms a picture, {name}, one core busy")
    finally:
        busy.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder with JPEGs of 8 megapixels and more")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="cold,memory,draft,known,stall")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place) / "pictures", Path(place) / "home"
        folder.mkdir()
        only = given.only.split(",")
        pictures = []
        if set(only) & {"cold", "memory", "draft"}:
            pictures = camera_pictures(given.photos, folder, given.count)
        if "cold" in only:
            cold(pictures, home, given.rounds)
        if "memory" in only:
            memory(pictures, home)
        if "draft" in only:
            draft(pictures[:6], home, Path(place) / "degraded")
        if "known" in only:
            known(Path(place) / "known", home, given.rounds)
        if "stall" in only:
            stall(given.rounds)


if __name__ == "__main__":
    main()
