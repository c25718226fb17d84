"""A new instruction over 10,000 known pictures: wall time from process start, and where it goes.

    python tests/bench/instruction.py [--rounds 3] [--pictures 10000] [--only tiny,vit-b-32-256]

Zero-shot on `tiny` and on a ViT-B/32-256 of random weights, on torch and on ONNX Runtime in turns,
each time with words that were not asked before. The store holds the features of all pictures (made
up: what they are costs nothing), as after `imgrank index`; the exports are there, too. The process
is `imgrank sort FOLDER WORDS --format paths`, with a clock around these steps:

    start     of Python, to the first line of the program
    imports   torch and OpenCLIP, or ONNX Runtime; numpy
    load      the text tower and its tokenizer
    text      words -> embeddings
    read      features from the store
    score
    write     scores, and what the words gave
    rest      imgrank's own imports, walking the folder, looking up digests, ranking, printing
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from backbone import exported, random_backbone
from PIL import Image
from speed import TINY, run

STEPS = ("start", "imports", "load", "text", "read", "score", "write", "rest")
SORT = """
import time
now = time.time()
import collections, importlib, json, os, sys
began = float(os.environ["BENCH_STARTED"])
spent, stack, last = collections.Counter(start=now - began), ["rest"], now

def switch():
    global last
    now = time.time()
    spent[stack[-1]] += now - last
    last = now

def clocked(step, function):
    def inner(*args, **options):
        switch()
        stack.append(step)
        try:
            return function(*args, **options)
        finally:
            switch()
            stack.pop()
    return inner

def clock(where, name, step):
    setattr(where, name, clocked(step, getattr(where, name)))

from imgrank.rankers.prompts import PromptRanker
from imgrank.rankers.source import BackboneSource
from imgrank.store.store import Store
import imgrank.models.onnx as onnx
clocked("imports", importlib.import_module)("numpy")
if os.environ["IMGRANK_ENGINE"] == "torch":
    backbone = clocked("imports", importlib.import_module)("imgrank.models.backbone")
    clock(backbone, "load_tower", "load")
    clock(backbone, "load_tokenizer", "load")
else:
    for name in ("onnxruntime", "ftfy", "regex"):
        clocked("imports", importlib.import_module)(name)
    clock(onnx.Engine, "_opened", "load")
clock(BackboneSource, "_said", "text")
clock(Store, "feature_matrix", "read")
clock(PromptRanker, "score", "score")
for name in ("put", "put_text"):
    clock(Store, name, "write")
from imgrank.cli import main
sys.argv[0] = "imgrank"
try:
    main()
except SystemExit as end:
    if end.code:
        raise
switch()
torch = "torch" in sys.modules
print(json.dumps({**spent, "torch": torch}), file=open(os.environ["BENCH_RESULT"], "w"))
os._exit(0)
"""


def seeded(folder: Path, model: Path, home: Path) -> None:
    """Features of every picture in the store, as `imgrank index` leaves them."""
    from imgrank.images import ImageFile
    from imgrank.images.scan import scan
    from imgrank.models.spec import read_spec
    from imgrank.rankers.source import BackboneSource
    from imgrank.settings import load_settings
    from imgrank.store.digest import digest_file
    from imgrank.store.store import Batch, FeatureRow, FileRow, Store

    spec = read_spec(model)
    identity, rng = BackboneSource(spec).identity, np.random.default_rng(0)
    files = [f for f in scan([folder]) if isinstance(f, ImageFile)]
    rows = [FileRow(f, digest_file(f.path)) for f in files]
    pooled = rng.normal(size=(len(rows), spec.widths["embed"]))
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    half = pooled.astype(np.float16)
    kept = [FeatureRow(r.digest, identity, "pooled", x) for r, x in zip(rows, half, strict=True)]
    with Store(load_settings(home=home).store_path) as store:
        store.put(Batch(files=rows, features=kept))


def sort(folder: Path, model: Path, home: Path, engine: str, words: str) -> dict[str, float]:
    """Seconds of each step, and `wall`, of one process."""
    result = home / "result.json"
    command = [sys.executable, "-c", SORT, "sort", str(folder), words]
    command += ["--model", str(model), "--format", "paths"]
    more = {"BENCH_STARTED": repr(time.time()), "BENCH_RESULT": str(result)}
    out, cpu, wall, _ = run(command, home, IMGRANK_ENGINE=engine, IMGRANK_DEVICE="cpu", **more)
    found = json.loads(result.read_text())
    assert found["torch"] == (engine == "torch"), found
    return {**found, "wall": wall, "cpu": cpu, "lines": len(out.splitlines())}


def bench(folder: Path, model: Path, home: Path, rounds: int, count: int) -> None:
    seeded(folder, model, home)
    graphs = exported(model, home, [])
    shutil.move(graphs, home / "cache" / "onnx")
    found: dict[str, list[dict[str, float]]] = {"torch": [], "onnx": []}
    for i in range(rounds):
        for engine, rows in found.items():
            rows.append(sort(folder, model, home, engine, f"a dog that is {engine} {i} times"))
            assert rows[-1]["lines"] == count, rows[-1]
    for engine, rows in found.items():
        middle = {n: statistics.median(row.get(n, 0.0) for row in rows) for n in (*STEPS, "wall")}
        steps = ", ".join(f"{name} {middle[name]:.2f}" for name in STEPS)
        walls = [row["wall"] for row in rows]
        print(
            f"{model.name}, {engine}: {middle['wall']:.2f} s ({min(walls):.2f} to {max(walls):.2f},"
            f" {rounds} rounds), CPU {statistics.median(row['cpu'] for row in rows):.2f} s: {steps}"
        )
    ratios = [a["wall"] / b["wall"] for a, b in zip(found["torch"], found["onnx"], strict=True)]
    print(f"{model.name}: ONNX Runtime answers in 1/{statistics.median(ratios):.1f} of the time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--only", default="tiny,vit-b-32-256", help="names, or a backbone's folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        for i in range(given.pictures):
            picture = Image.new("RGB", (8, 8), (i % 256, i // 256, 7))
            picture.save(folder / f"{i:05d}.png", compress_level=1)
        for name in given.only.split(","):
            if name == "vit-b-32-256":
                model = random_backbone(Path(place) / name)
            else:
                model = TINY if name == "tiny" else Path(name)
            bench(folder, model, Path(place) / f"home-{model.name}", given.rounds, given.pictures)


if __name__ == "__main__":
    main()
