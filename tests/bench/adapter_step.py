"""Speed and memory of a training step of the ranking adapter, as ratios measured in one run.

    python tests/bench/adapter_step.py [--rounds 5] [--threads N] [--device cuda] [--only embedded]

A step reads B = 64 pictures and trains the adapter on one instruction: both heads, both losses,
backward, AdamW. For P = 49 and 100 image tokens, with the adapter that the recipes train on the
embedded backbone (D = 128, one layer of each kind) and the released one (D = 768, two layers of
each kind), both with M = 16, 8 heads, dropout, in float32:

* ours: tokens from the cache on disk, the factorised pair head.
* direct: the same, but B^2 joint attention maps over 2P tokens (`adapter_direct.py`), all in one
  batch, as the paper's equations say it; and by rows, that is the B pairs of one picture at a time,
  which keeps them in the processor's caches.
* backbone: the direct form's opposite: our head, but the tokens are computed anew at each step, by
  `tiny` at 224 and 320 pixels from decoded pictures in memory, and by a random ConvNeXt-L at 320
  (a sub-batch of pictures is timed and scaled to 64).
* head: z' -> pair logits -> loss and back, without the encoder in front of it.

The bars are those of D = 128: with D = 768 the encoder's matrix products outweigh either pair head.

The ways take turns; ratios are the median over the rounds, with their range. Memory is the peak of
a process of its own that runs one step, above what it had before (on CUDA: what torch allocated).
On a machine with other work, `--threads 1 --clock cpu` counts CPU seconds instead of wall seconds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

B, PICTURES, SUB_BATCH = 64, 128, 2
BARS = {"step": 8.0, "head": 30.0, "backbone": 4.0}
TINY = Path(__file__).parents[2] / "imgrank" / "weights" / "tiny"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Step = Callable[[], object]


class Bench:
    """An adapter with its cached tokens; every way to make a step of it."""

    def __init__(self, P: int, D: int, device: str, folder: Path, layers: int = 1) -> None:
        import numpy as np
        import torch

        from imgrank.data.features import TokenLayout, open_cache
        from imgrank.models.adapter import Adapter, AdapterConfig

        self.P, self.D, self.device = P, D, device
        torch.manual_seed(0)
        if D == 128:
            depth = {"layers": layers, "encoder_layers": layers}
            config = AdapterConfig({"grid": 1280}, text_width=256, width=128, **depth)
            text = torch.randn(32, 256)
        else:
            config = AdapterConfig({"grid": 1536}, grid_projection="norm+linear")
            text = torch.randn(77, 768)
        self.adapter = Adapter(config).to(device).train()
        self.optimizer = torch.optim.AdamW(self.adapter.parameters(), lr=1e-5)
        self.text, self.y = text.to(device), torch.rand(B, device=device)
        keys = [f"{P} {D} {n}" for n in range(PICTURES)]
        layout = TokenLayout((("grid", P, config.image_widths["grid"]),), mirrored=False)
        self.cache = open_cache(folder, "bench", keys, layout)
        self.draw = np.random.default_rng(0)
        if self.cache.missing:
            for n in range(PICTURES):
                tokens = self.draw.standard_normal((P, layout.sources[0][2])).astype(np.float16)
                self.cache.put([n], [[{"grid": tokens}]])
        self.z = self.adapter.encode(self.cached(), self.text).detach()

    def cached(self) -> dict[str, Any]:
        import torch

        arrays = self.cache.batch(self.rows())
        return {name: torch.from_numpy(a).to(self.device).float() for name, a in arrays.items()}

    def rows(self) -> list[int]:
        chosen: list[int] = self.draw.choice(PICTURES, B, replace=False).tolist()
        return chosen

    def logits(self, rows: int) -> Callable[[Any], Any]:
        """z' -> pair logits: ours for rows = 0, else the direct form."""
        from adapter_direct import pair_logits

        if not rows:
            return self.adapter.pair_logits
        return lambda z: pair_logits(self.adapter, z, rows)

    def step(self, rows: int = 0, tokens: Callable[[], dict[str, Any]] | None = None) -> Step:
        import torch

        from imgrank.train import losses

        logits, read = self.logits(rows), tokens or self.cached

        def step() -> None:
            z = self.adapter.encode(read(), self.text)
            loss = losses.rank_bce(logits(z), self.y)
            loss = loss + losses.ALPHA * losses.reg_smooth_l1(self.adapter.scores(z), self.y)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), 1.0)
            self.optimizer.step()

        return step

    def head(self, rows: int = 0) -> Step:
        from imgrank.train import losses

        logits, z = self.logits(rows), self.z.requires_grad_()

        def head() -> None:
            self.adapter.zero_grad(set_to_none=True)
            z.grad = None
            losses.rank_bce(logits(z), self.y).backward()

        return head

    def tiny(self) -> Callable[[], dict[str, Any]]:
        """Tokens of `tiny`, at the size that gives P of them, of pictures in memory."""
        from dataclasses import replace

        import numpy as np
        import torch

        from imgrank.data.labelled import Labelled, Labels
        from imgrank.models.backbone import Backbone
        from imgrank.train.live import LivePictures

        size = {49: 224, 100: 320}[self.P]
        backbone = Backbone(TINY, torch.device(self.device))
        backbone.spec = replace(backbone.spec, image_size=size)
        pixels = self.draw.integers(0, 256, (PICTURES, size, size, 3), dtype=np.uint8)
        names = tuple(str(n) for n in range(PICTURES))
        labels = Labels("mos", "quality", "", np.zeros(PICTURES, np.float32))
        data = Labelled(
            "memory", tuple(map(Path, names)), names, ("train",) * PICTURES, names, (labels,),
            render=lambda n, S: pixels[n],
        )  # fmt: skip
        live = LivePictures(data, backbone, ("grid",))
        return lambda: live.batch(self.rows())

    def ways(self, names: list[str]) -> dict[str, Step]:
        made: dict[str, Callable[[], Step]] = {
            "ours": self.step,
            "direct": lambda: self.step(B),
            "direct by rows": lambda: self.step(1),
            "backbone tiny": lambda: self.step(0, self.tiny()),
            "head ours": self.head,
            "head direct": lambda: self.head(B),
            "head direct by rows": lambda: self.head(1),
        }
        return {name: made[name]() for name in names}


def convnext(device: str) -> Step:
    """ConvNeXt-L at 320 with random weights, on SUB_BATCH pictures."""
    import timm
    import torch

    trunk = timm.create_model("convnext_large", num_classes=0).eval().to(device)
    trunk = trunk.to(memory_format=torch.channels_last)
    x = torch.randn(SUB_BATCH, 3, 320, 320, device=device).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            trunk.forward_features(x)

    return forward


def seconds(
    ways: dict[str, Step], rounds: int, device: str, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round to warm up."""
    import torch

    found: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if device != "cpu":
                torch.cuda.synchronize()
            if n:
                found[name].append(clock() - start)
    return found


def ratio(what: str, slow: list[float], fast: list[float], bar: float | None = None) -> None:
    found = [a / b for a, b in zip(slow, fast, strict=True)]
    middle = statistics.median(found)
    verdict = "" if bar is None else f"; bar {bar:g}: {'met' if middle >= bar else 'MISSED'}"
    print(
        f"  {what}: {middle:.1f} times ({min(found):.1f} to {max(found):.1f}, {len(found)} rounds)"
        f"{verdict}",
        flush=True,
    )


def speed(P: int, D: int, rounds: int, given: argparse.Namespace, folder: Path) -> None:
    import torch

    device = given.device
    bench = Bench(P, D, device, folder, given.layers)
    small = D == 128
    names = ["ours", "direct", "direct by rows", "head ours", "head direct", "head direct by rows"]
    names = [*names, "backbone tiny"] if small else names
    if not small and device == "cpu":  # some 10 GB a step
        names = [name for name in names if not name.endswith("direct")]
    bench.adapter.eval()  # the same numbers first
    with torch.no_grad():
        ours, theirs = (bench.logits(rows)(bench.z[:8]) for rows in (0, 8))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    bench.adapter.train()
    ways = bench.ways(names)
    if not small and P == 100:
        ways["convnext"] = convnext(device)
    found = seconds(ways, rounds, device, CLOCKS[given.clock])
    depth = bench.adapter.config.layers
    print(f"B = {B}, P = {P}, D = {D}, {depth} layer(s) of each kind; {given.clock} seconds")
    for name, spent in found.items():
        if name != "convnext":
            print(f"  {1 / statistics.median(spent):8.3f} steps/s: {name}")
    for name in names:
        kind = name.split()[0]
        if kind == "head" and name != "head ours":
            bar = BARS["head"] if small and name == "head direct" else None
            ratio(f"{name} / ours", found[name], found["head ours"], bar)
        elif name != "ours" and kind != "head":
            bar = BARS["backbone" if kind == "backbone" else "step"]
            ratio(
                f"{name} / ours",
                found[name],
                found["ours"],
                bar if small and "rows" not in name else None,
            )
    if "convnext" in found:
        scaled = [
            spent * B / SUB_BATCH + own
            for spent, own in zip(found["convnext"], found["ours"], strict=True)
        ]
        ratio(
            f"backbone ConvNeXt-L at 320 ({SUB_BATCH} pictures timed, scaled to {B}) "
            f"{1 / statistics.median(scaled):.4f} steps/s / ours", scaled, found["ours"],
        )  # fmt: skip


def peak(way: str, P: int, D: int, device: str, folder: Path) -> None:
    """Prints the MiB that one step takes above what the process had before."""
    import torch

    bench = Bench(P, D, device, folder)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        bench.ways([way])[way]()
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    # The parent's own peak would count as ours if it were larger: it imports no torch before.
    before = _resident()
    bench.ways([way])[way]()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 2**20)


def _resident() -> int:
    """Bytes of this process that are in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def memory(P: int, D: int, device: str, folder: Path, threads: int | None) -> None:
    print(f"memory of a step, B = {B}, P = {P}, D = {D}")
    ways = ["ours", "direct", "direct by rows", "backbone tiny"]
    if D != 128:
        ways = ["ours", "direct by rows"] if device == "cpu" else ways[:3]
    for way in ways:
        command = [sys.executable, __file__, "--peak", way, "--sizes", f"{P},{D}"]
        command += ["--device", device, "--folder", str(folder)]
        command += ["--threads", str(threads)] if threads else []
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"  {float(out):8.0f} MiB: {way}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="with D = 128; with 768 a third")
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--layers", type=int, default=1, help="of each kind, with D = 128")
    parser.add_argument("--no-memory", action="store_true", help="speed alone")
    parser.add_argument("--only", choices=["embedded", "released"], help="D = 128, D = 768")
    for hidden in ("--peak", "--sizes", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        set_threads(given.threads)
        P, D = map(int, given.sizes.split(","))
        peak(given.peak, P, D, given.device, Path(given.folder))
        return
    widths = {"embedded": [128], "released": [768]}.get(given.only, [128, 768])
    with tempfile.TemporaryDirectory() as place:
        # Memory first: a child's peak counts from its parent's, which is small so far.
        for D in [] if given.no_memory else widths:
            for P in (49, 100):
                memory(P, D, given.device, Path(place), given.threads)
        set_threads(given.threads)
        for D in widths:
            for P in (49, 100):
                rounds = given.rounds if D == 128 else max(1, given.rounds // 3)
                speed(P, D, rounds, given, Path(place))


def set_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    if "--peak" not in sys.argv:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)", flush=True)


if __name__ == "__main__":
    main()
