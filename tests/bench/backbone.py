"""Cold indexing of camera JPEGs on a real architecture, as ratios measured in one run.

    python tests/bench/backbone.py [--photos FOLDER] [--count 48] [--rounds 3] [--model tiny]

Pictures per second of `imgrank index`, on torch and on ONNX Runtime, against the plain way
(`plain.py`: full decoding, then OpenCLIP's transforms, in batches of 32), all of the same weights,
on two threads, taking turns; none with the time to import, load or export. The model is a
ViT-B/32-256 of random weights (speed does not depend on them) unless one is named.
FOLDER: as for `speed.py`.

`--towers` leaves decoding out: the image tower alone, torch against one session of ONNX Runtime on
two threads and against one batch a thread, in batches of 1, 4 and 8; and by how much they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from speed import HERE, TINY, camera_pictures, run

ARCHITECTURE = "ViT-B-32-256"
INDEX = """
import sys, time
import numpy as np
from imgrank import api
from imgrank.opening import open_store
from imgrank.rankers.load import load_source
from imgrank.settings import load_settings
options = api.Options(model=sys.argv[2])
settings = load_settings()
source = load_source(sys.argv[2], settings)
size = source.spec.image_size
with open_store(settings, [source], options.notify):  # loading is not counted, as in plain.py
    source.compute([np.zeros((size, size, 3), np.uint8)] * 8)
started = time.perf_counter()
made = api.index(sys.argv[1], options=options)
print(made.computed, time.perf_counter() - started, int("torch" in sys.modules))
"""


def random_backbone(folder: Path, architecture: str = ARCHITECTURE) -> Path:
    """A backbone folder of random weights, with OpenAI's preprocessing."""
    import open_clip
    from safetensors.torch import save_file

    from imgrank.models.backbone import describe

    folder.mkdir(parents=True)
    model = open_clip.create_model(architecture)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    describe(folder, folder.name)
    return folder


def exported(model: Path, cache: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Both towers exported below `cache`; without pictures to compare with, the text tower."""
    from imgrank.models.backbone import Backbone
    from imgrank.models.onnx import open_engine

    backbone = Backbone(model)
    engine = open_engine(cache, backbone.spec, "onnx", "cpu", True, print)
    assert engine is not None
    if pictures:
        engine.saw_images(backbone, pictures)
    engine.saw_text(backbone)
    return cache / "onnx"


def prepared(model: Path, paths: Sequence[Path]) -> list[np.ndarray]:
    from imgrank.images.decode import decode, to_square
    from imgrank.models.spec import read_spec

    size = read_spec(model).image_size
    return [to_square(decode(path.read_bytes(), size), size) for path in paths]


def cold(model: Path, paths: Sequence[Path], home: Path, graphs: Path, rounds: int) -> None:
    folder = str(paths[0].parent)
    ratios: dict[str, list[float]] = {"torch": [], "onnx": []}
    for i in range(rounds):
        plain = [sys.executable, str(HERE / "plain.py"), str(model), *map(str, paths)]
        count, seconds = map(float, run(plain, home)[0].split())
        print(f"cold, round {i + 1}: plain way {count / seconds:.1f} pictures/s", end="")
        for engine, found in ratios.items():
            place = home / f"{engine}{i}"
            shutil.copytree(graphs, place / "cache" / "onnx", copy_function=os.link)
            command = [sys.executable, "-c", INDEX, folder, str(model)]
            out, *_ = run(command, place, IMGRANK_ENGINE=engine, IMGRANK_DEVICE="cpu")
            made, ours, torch = map(float, out.split())
            assert (made, bool(torch)) == (count, engine == "torch"), out
            found.append(seconds / ours)
            print(f", imgrank on {engine} {count / ours:.1f} (ratio {found[-1]:.2f})", end="")
        print(flush=True)
    for engine, found in ratios.items():
        print(
            f"cold: imgrank on {engine} has {statistics.median(found):.2f} times the pictures/s of "
            f"the plain way ({min(found):.2f} to {max(found):.2f}, {rounds} rounds)"
        )


def towers(model: Path, graphs: Path, pictures: list[np.ndarray], rounds: int) -> None:
    import onnxruntime

    from imgrank.models.backbone import Backbone
    from imgrank.models.onnx import ImageGraph
    from imgrank.models.onnx_export import parity

    backbone = Backbone(model, precision="float32")
    (folder,) = graphs.glob(f"{backbone.identity[:32]}/image")
    graph = ImageGraph(folder, backbone.spec, {"fast": True})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    wide = onnxruntime.InferenceSession(str(folder / "graph.onnx"), options)
    pool = ThreadPoolExecutor(2)

    def batches(size: int) -> list[list[np.ndarray]]:
        return [pictures[i : i + size] for i in range(0, len(pictures), size)]

    def one_session(size: int) -> Callable[[], Any]:
        return lambda: [wide.run(None, {"x": graph.normalise(b)}) for b in batches(size)]

    def side_by_side(size: int) -> Callable[[], Any]:
        return lambda: list(pool.map(graph._part, batches(size)))

    ways: dict[str, Callable[[], Any]] = {
        "torch, as imgrank runs it": lambda: [backbone.encode_images(b) for b in batches(8)]
    }
    for size in (1, 4, 8):
        ways[f"one session, two threads, batch {size}"] = one_session(size)
        ways[f"one batch a thread, batch {size}"] = side_by_side(size)
    ways["ONNX Runtime, as imgrank runs it"] = lambda: [graph.features(b) for b in batches(8)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if i:  # the first is to warm up
                seconds[name].append(time.perf_counter() - start)
    base = seconds["torch, as imgrank runs it"]
    for name, spent in seconds.items():
        ratios = [a / b for a, b in zip(base, spent, strict=True)]
        print(
            f"tower: {len(pictures) / statistics.median(spent):6.1f} pictures/s, ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}): {name}"
        )
    wanted, got = backbone.encode_images(pictures), graph.features(pictures)
    for name in wanted[0]:
        cosine, difference = parity(*(np.stack([f[name] for f in x]) for x in (wanted, got)))
        print(f"tower: {name}, float16: least cosine {cosine:.7f}, largest difference "
              f"{difference:.5f} of the largest value")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder with JPEGs of 8 megapixels and more")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a backbone's folder, or 'tiny'")
    parser.add_argument("--towers", action="store_true", help="the image tower alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        if given.model:
            model = TINY if given.model == "tiny" else Path(given.model)
        else:
            model = random_backbone(Path(place) / "vit-b-32-256")
        paths = camera_pictures(given.photos, folder, given.count)
        graphs = exported(model, Path(place), prepared(model, paths[:8]))
        if given.towers:
            towers(model, graphs, prepared(model, paths), given.rounds)
        else:
            cold(model, paths, Path(place) / "home", graphs, given.rounds)


if __name__ == "__main__":
    main()
