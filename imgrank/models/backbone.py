"""A backbone: from pixels to pooled embeddings and image tokens, from prompts to embeddings and
text tokens.

A backbone is loaded from its own folder by OpenCLIP's `local-dir:` with the preprocessing that
the folder declares, never by a bare tag (tags carry no revision, and a plain weights path keeps
the default preprocessing). What needs no torch (identity, input size, widths) is in
`models/spec.py`; what is taken from a tower of which kind, in `models/towers.py`.

Features of a picture:
* `pooled` [E]: the tower's image embedding, L2-normalised.
* `grid` [P, Dg]: the last feature map, row-major, before any pooling or projection and not
  normalised (timm trunks: `forward_features` without prefix tokens; OpenCLIP's ViT: after its
  final LayerNorm, class token dropped).
* `statistics` [Ds]: channel mean and standard deviation (over positions, not n - 1) of chosen
  intermediate maps, mean before deviation, map after map. Pooled final features discard what a
  ranking needs (sharpness, noise, exposure); these statistics keep it.

Text: embeddings are L2-normalised. Both towers of `tiny` live in a space that is already centred
(its image projection was fitted on centred class embeddings and its text tower learnt centred
ones), so nothing is subtracted here. Text tokens are the output of the final LayerNorm at all
positions, padding included, neither projected nor normalised. Prompts are always padded to the
context length: the towers have no padding mask.

Speed on a CPU: batch norm is folded into the convolution before it, memory is channels-last,
batches stay small (32 is slower than 8) and run side by side (`device.solo_pool`). Only the tower
that is asked for is read from the file and kept in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from imgrank.errors import CheckpointError
from imgrank.models import towers
from imgrank.models.device import halving, solo_pool
from imgrank.models.digests import cache_file
from imgrank.models.folding import fold_batch_norm, folded
from imgrank.models.loading import load_tokenizer, load_tower
from imgrank.models.precision import PrecisionChoice
from imgrank.models.spec import FORMAT, MERGES, RECORD, BackboneSpec, read_spec
from imgrank.models.towers import statistics_token
from imgrank.settings import Precision

__all__ = ["Backbone", "describe", "fold_batch_norm", "statistics_token"]

Pixels = npt.NDArray[np.uint8]
Features = dict[str, npt.NDArray[np.float16]]
Take = Callable[[Tensor], dict[str, Tensor]]

CPU_BATCH, DEVICE_BATCH, TEXT_BATCH = 4, 64, 64
KEEP_FLOAT32 = "statistics tokens were learnt from float32"


class Backbone:
    """A backbone folder, its towers loaded at first use.

    folder: as for `read_spec`.   device: from `choose_device`.
    overrides: tensors that stand in for the folder's own, by their OpenCLIP names.
    precision: of the image tower; see `models/precision.py`.
    batch, text_batch: most pictures and prompts at a time; they shrink where memory runs out.
    Raises CheckpointError, at construction if the folder is incomplete, at first use if the
    weights are not those that the folder's record names.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device | None = None,
        overrides: Mapping[str, Tensor] | None = None,
        precision: Precision = "auto",
    ) -> None:
        self.spec: BackboneSpec = read_spec(folder)
        self.overrides = dict(overrides or {})
        self.device = device or torch.device("cpu")
        self.batch = CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH
        self.text_batch = TEXT_BATCH
        self._precision: PrecisionChoice | None = None
        self._wish = precision
        self._visual: nn.Module | None = None
        self._text: nn.Module | None = None
        self._tokenizer: Callable[[list[str]], Tensor] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def identity(self) -> str:
        return self.spec.identity

    @property
    def image_size(self) -> int:
        return self.spec.image_size

    @property
    def visual(self) -> nn.Module:
        """The image tower, ready for inference."""
        if self._visual is None:
            visual = folded(lambda: load_tower(self.spec, "image", self.overrides), self._of_noise)
            # For a ViT that concerns the patch embedding only.
            self._visual = visual.to(memory_format=torch.channels_last).to(self.device)
        return self._visual

    def _of_noise(self, visual: nn.Module) -> dict[str, Tensor]:
        S = self.image_size
        noise = torch.randn(1, 3, S, S, generator=torch.Generator().manual_seed(0))
        return towers.image_features(visual, noise, self.spec.statistics)

    @property
    def text(self) -> nn.Module:
        """The OpenCLIP model without its image tower."""
        if self._text is None:
            self._text = load_tower(self.spec, "text", self.overrides).to(self.device)
        return self._text

    def drop(self) -> None:
        """Forget the loaded towers; they are loaded again at the next use."""
        self._visual = self._text = None

    @property
    def precision(self) -> PrecisionChoice:
        """Of the image tower; open until the first batch that settles it."""
        if self._precision is None:
            tensors = hashlib.sha256()
            own = sorted(name for name in self.overrides if name.startswith("visual."))
            for name in own:
                tensors.update(name.encode() + self.overrides[name].float().numpy().tobytes())
            mark = f"+{tensors.hexdigest()}" if own else ""
            self._precision = PrecisionChoice(
                self.device,
                self._wish,
                model=f"{self.identity}{mark}",
                memory=cache_file("probes.json"),
                keep_float32=KEEP_FLOAT32 if self.spec.statistics else "",
            )
        return self._precision

    @property
    def precision_note(self) -> str:
        """The precision of the image tower and why; "" before the first batch that settles it."""
        return self._precision.note if self._precision else ""

    def encode_images(
        self, pixels: Pixels | Sequence[Pixels], take: Take | None = None
    ) -> list[Features]:
        """uint8 [B, S, S, 3] (or B arrays [S, S, 3]), upright RGB -> features of each picture.

        float16, whether fresh or kept by the store: a score never depends on which.
        take: what is taken of the tower instead, from normalised [B, 3, S, S].
        Raises CheckpointError if an embedding, or anything that is taken, is no number in float16:
        such a score would look as if the picture lacked what was asked for.
        """
        pictures = list(pixels)
        run = self._encode if take is None else partial(self._encode, take=take)
        _ = self.visual, self.precision  # made once, before the threads need them
        if self.device.type != "cpu":
            found, self.batch = halving(pictures, run, self.batch)
            return found
        if self._pool is None or self._pool_process != os.getpid():  # threads do not survive a fork
            self._pool = solo_pool(max(1, torch.get_num_threads()))
            self._pool_process = os.getpid()
        if pictures and self.precision.open:  # a thread's share may be too small for a trial
            self._pool.submit(self._settle, pictures[: self.batch]).result()
        share = min(self.batch, -(-len(pictures) // torch.get_num_threads()))
        parts = [pictures[i : i + share] for i in range(0, len(pictures), max(1, share))]
        return [row for part in self._pool.map(run, parts) for row in part]

    @torch.inference_mode()
    def _settle(self, pixels: Sequence[Pixels]) -> None:
        x = self.normalise(np.stack(pixels))
        self.precision.settle(lambda: self.features_of(x), len(pixels))

    def _encode(self, pixels: Sequence[Pixels], take: Take | None = None) -> list[Features]:
        tensors = self.image_features(np.stack(pixels), take)
        arrays = {name: value.half().cpu().numpy() for name, value in tensors.items()}
        # Of a picture's features the rankers look at those that they read; what is taken of a tower
        # goes into a training, where one infinity makes all weights NaN.
        checked = [arrays["pooled"]] if take is None else arrays.values()
        if not all(np.isfinite(array).all() for array in checked):
            raise CheckpointError(
                f"the backbone {self.name} gives values that are no numbers: its weights are "
                "damaged, or the precision is too low for them. Try --precision float32, or fetch "
                "it again."
            )
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(pixels))]

    @torch.inference_mode()
    def image_features(self, pixels: Pixels, take: Take | None = None) -> dict[str, Tensor]:
        """One batch uint8 [B, S, S, 3] -> pooled [B, E], grid [B, P, Dg], statistics [B, Ds]
        (the last only if the backbone has it), or what `take` gives; float32 on the device."""
        x = self.normalise(pixels)
        self.precision.settle(lambda: self.features_of(x), len(pixels))
        with self.precision.autocast():
            features = (take or self.features_of)(x)
        return {name: value.float() for name, value in features.items()}

    def normalise(self, pixels: Pixels) -> Tensor:
        """uint8 [B, S, S, 3] -> float32 [B, 3, S, S] on the device, channels-last in memory."""
        S = self.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (S, S, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 [B, {S}, {S}, 3], not {pixels.shape}")
        x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        mean = torch.tensor(self.spec.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(self.spec.std, device=self.device).view(1, 3, 1, 1)
        return x.float().div_(255).sub_(mean).div_(std)

    def features_of(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised [B, 3, S, S] -> the named features. Differentiable; changes no setting."""
        return towers.image_features(self.visual, x, self.spec.statistics)

    def tokenize(self, prompts: Iterable[str]) -> Tensor:
        """Prompts -> token ids [B, T], padded to the context length.

        Raises MissingExtra where the tokenizer needs the transformers library.
        """
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.spec)
        return self._tokenizer(list(prompts)).to(self.device)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> embeddings [B, E], float32, L2-normalised."""
        return self._by_batch(prompts, towers.text_embeddings)

    def text_tokens(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> [B, T, Dt], float32: after the final LayerNorm, at every position."""
        return self._by_batch(prompts, towers.text_tokens)

    @torch.inference_mode()
    def _by_batch(
        self, prompts: Sequence[str], run: Callable[[nn.Module, Tensor], Tensor]
    ) -> Tensor:
        if not prompts:
            raise ValueError("no prompts")
        ids, model = list(self.tokenize(prompts)), self.text
        rows, self.text_batch = halving(
            ids, lambda part: list(run(model, torch.stack(list(part)))), self.text_batch
        )
        return torch.stack(rows).float()


def describe(
    folder: Path, name: str, statistics: Sequence[int] = (), image_size: int | None = None
) -> BackboneSpec:
    """Write `imgrank.json` of a backbone folder: digest of its weights, its name and widths.

    A merges file is recorded if the folder holds one named `merges.txt.gz`.
    image_size: side of the input in pixels, if it shall not be the config's own.
    Raises CheckpointError if a tower or the tokenizer cannot be loaded or gives no numbers,
    MissingExtra if that needs an extra; the record is then what it was before.
    """
    record: dict[str, Any] = {"format": FORMAT, "name": name, "statistics": list(statistics)}
    if (folder / MERGES).is_file():
        record["merges"] = MERGES
    if image_size is not None:
        record["image_size"] = image_size
    path = folder / RECORD
    before = path.read_bytes() if path.is_file() else None
    path.unlink(missing_ok=True)
    try:
        record["weights_sha256"] = read_spec(folder).weights_sha256
        _write(path, record)
        _write(path, record | _measured(folder))
    except BaseException:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        raise
    return read_spec(folder)


def _measured(folder: Path) -> dict[str, Any]:
    """Widths of all features and how many tokens the grid has, by running both towers once."""
    backbone = Backbone(folder, precision="float32")
    tokens = backbone.text_tokens([""])
    backbone.drop()  # the two towers need not be in memory together
    S = backbone.image_size
    features = backbone.image_features(np.zeros((1, S, S, 3), np.uint8))
    widths = {kind: value.shape[-1] for kind, value in features.items() if kind != "pooled"}
    embed = features["pooled"].shape[-1]
    if not all(bool(value.isfinite().all()) for value in (tokens, *features.values())):
        raise CheckpointError(
            f"{folder} gives values that are no numbers: its weights are damaged."
        )
    return {
        "widths": {**widths, "text": tokens.shape[-1], "embed": embed},
        "grid_tokens": features["grid"].shape[1],
    }


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
