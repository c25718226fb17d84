"""A made-up data set and recipe, small enough to train in a second."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from imgrank.data.features import TokenCache, TokenLayout, TokenSet, fill, open_cache
from imgrank.data.labelled import Labelled, Labels
from imgrank.models.adapter import Adapter, AdapterConfig
from imgrank.train import adapter as recipe
from imgrank.train.adapter_recipe import Config, Source
from imgrank.train.streams import Stream, all_prompts, stream_of

N = 60
TARGETS = (np.arange(N) % 5).astype(np.float32)
TEXT = torch.linspace(-1, 1, 12).reshape(3, 4)


class Encoder:
    """Tokens of noise; the first of the statistics is the picture's first pixel, give or take."""

    def encode_images(
        self, pixels: Sequence[npt.NDArray[np.uint8]]
    ) -> list[dict[str, npt.NDArray[np.float16]]]:
        out = []
        for p in pixels:
            draw = np.random.default_rng(int(p[0, 0, 1]))
            grid, statistics = draw.normal(size=(4, 6)), 0.3 * draw.normal(size=5)
            statistics[:2] += p[0, 0, 0], 3  # the second shows the scale through the LayerNorm
            out.append({"grid": grid.astype("f2"), "statistics": statistics.astype("f2")})
        return out


def picture(index: int) -> npt.NDArray[np.uint8]:
    return np.full((2, 2, 3), (TARGETS[index], index, 0), dtype=np.uint8)


def toy_cache(folder: Path) -> TokenCache:
    layout = TokenLayout((("grid", 4, 6), ("statistics", 1, 5)), mirrored=True)
    cache = open_cache(folder, "tower", [str(n) for n in range(N)], layout)
    fill(cache, Encoder(), picture)
    return cache


def labels(
    values: npt.NDArray[np.float32] = TARGETS, key: str = "quality", **more: object
) -> Labels:
    facts: dict[str, object] = {"task": "quality", "prompt": "sort", "range": (0, 4)} | more
    return Labels(key, values=values, **facts)  # type: ignore[arg-type]


def labelled(*queries: Labels, name: str = "toy") -> Labelled:
    """60 pictures, the last ten for validation, in groups of five."""
    return Labelled(
        name,
        paths=tuple(Path(f"{n}.png") for n in range(N)),
        keys=tuple(str(n) for n in range(N)),
        parts=tuple("validation" if n >= 50 else "train" for n in range(N)),
        groups=tuple(f"photo {n // 5}" for n in range(N)),
        labels=queries or (labels(),),
    )


CONFIG = Config(
    name="toy",
    licence="none",
    sources=(Source("toy", 0.5), Source("toy", 0.5, groups=3, within=True)),
    model={
        "image_widths": {"grid": 6, "statistics": 5},
        "text_width": 4,
        "width": 16,
        "layers": 1,
        "encoder_layers": 1,
        "heads": 2,
        "encoder_heads": 2,
        "rank_heads": 2,
        "learnable_text_tokens": 2,
        "relational_tokens": 3,
    },
    batch=16,
    steps=6,
    warmup=2,
    average=0.5,
    warm_start=True,
    evaluate_every=3,
    save_every=2,
)


def toy_streams(
    folder: Path, config: Config = CONFIG, data: Labelled | None = None
) -> list[Stream]:
    data = data or labelled()
    tokens = TokenSet(data, toy_cache(folder / "tokens"))
    streams = [stream_of(source, data, config.tasks) for source in config.sources]
    return [replace(stream, pictures=tokens) for stream in streams]


def text_of(prompt: str) -> Tensor:
    """Text tokens that differ by prompt; "sort" has `TEXT`."""
    return TEXT if prompt == "sort" else TEXT.roll(len(prompt)) * (1 + len(prompt) % 7)


def toy_model(config: Config, streams: Sequence[Stream]) -> recipe.Model:
    torch.manual_seed(config.seed)
    adapter = Adapter(AdapterConfig.from_dict(config.model))
    if config.warm_start:
        recipe.warm_start(adapter, streams)
    texts = {prompt: text_of(prompt) for prompt in all_prompts(streams)}
    return recipe.Model(adapter, None, texts)


def trained(
    config: Config,
    streams: Sequence[Stream],
    out: Path,
    report: Callable[[str], None] = lambda line: None,
) -> recipe.Trained | None:
    out.mkdir(parents=True, exist_ok=True)
    return recipe.train(config, streams, toy_model(config, streams), out, report)


def weights(found: recipe.Trained | None) -> dict[str, Tensor]:
    assert found is not None
    return found.model.state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def two_of_the_same(steps: int) -> Config:
    """A recipe that several processes can share to float tolerance: without dropout, and with a
    batch that two cannot halve."""
    model = {**CONFIG.model, "dropout": 0.0}
    sources = (Source("toy", 2), Source("toy", groups=3, within=True))
    return replace(CONFIG, model=model, sources=sources, batch=13, steps=steps, average=0.5)


def interrupted(
    config: Config, streams: list[Stream], out: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Train, and press Ctrl-C while the given step runs; what was reported."""
    before = recipe.batch_loss

    def loss(*args: Any) -> dict[str, Tensor]:
        if args[3] == step:
            signal.raise_signal(signal.SIGINT)
        return before(*args)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "batch_loss", loss)
        assert trained(config, streams, out, said.append) is None
    return said
