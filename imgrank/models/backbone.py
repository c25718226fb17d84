"""OpenCLIP towers: from pixels to pooled embeddings and image tokens, from prompts to embeddings
and text tokens.

A backbone is loaded from its own folder by OpenCLIP's `local-dir:` with the preprocessing that
the folder declares, never by a bare tag (tags carry no revision, and a plain weights path keeps
the default preprocessing). What needs no torch (identity, input size, widths) is in
`models/spec.py`.

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
that is asked for is kept in memory.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import BatchNormAct2d
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from imgrank.errors import CheckpointError
from imgrank.models.device import choose_precision, halving, solo_pool
from imgrank.models.spec import FORMAT, RECORD, BackboneSpec, file_sha256, read_spec

__all__ = ["Backbone", "describe", "fold_batch_norm", "statistics_token"]

Pixels = npt.NDArray[np.uint8]
Features = dict[str, npt.NDArray[np.float16]]

CPU_BATCH, DEVICE_BATCH, TEXT_BATCH = 4, 64, 64


class Backbone:
    """A backbone folder, its towers loaded at first use.

    folder: as for `read_spec`.   device: from `choose_device`.
    overrides: tensors that stand in for the folder's own, by their OpenCLIP names.
    Raises CheckpointError, at construction if the folder is incomplete, at first use if the
    weights are not those that the folder's record names.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device | None = None,
        overrides: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.spec: BackboneSpec = read_spec(folder)
        self.overrides = dict(overrides or {})
        self.device = device or torch.device("cpu")
        self.batch = CPU_BATCH if self.device.type == "cpu" else DEVICE_BATCH
        self.precision_note = ""
        self._visual: nn.Module | None = None
        self._text: nn.Module | None = None
        self._tokenizer: Callable[[list[str]], Tensor] | None = None
        self._dtype: torch.dtype | None = None
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
            visual: nn.Module = self._load().visual
            if isinstance(getattr(visual, "trunk", None), EfficientNet):
                fold_batch_norm(visual)
            visual = visual.to(memory_format=torch.channels_last)
            self._visual = visual.to(self.device)
        return self._visual

    @property
    def text(self) -> nn.Module:
        """The OpenCLIP model without its image tower."""
        if self._text is None:
            model = self._load()
            model.visual = None
            self._text = model.to(self.device)
        return self._text

    def drop(self) -> None:
        """Forget the loaded towers; they are loaded again at the next use."""
        self._visual = self._text = None

    def encode_images(self, pixels: Pixels | Sequence[Pixels]) -> list[Features]:
        """uint8 [B, S, S, 3] (or B arrays [S, S, 3]), upright RGB -> features of each picture.

        float16, whether fresh or kept by the store: a score never depends on which.
        """
        pictures = list(pixels)
        if self.device.type != "cpu":
            return halving(pictures, self._encode, self.batch)
        _ = self.visual  # loaded once, before the threads need it
        if self._pool is None or self._pool_process != os.getpid():  # threads do not survive a fork
            self._pool = solo_pool(max(1, torch.get_num_threads()))
            self._pool_process = os.getpid()
        share = min(self.batch, -(-len(pictures) // torch.get_num_threads()))
        parts = [pictures[i : i + share] for i in range(0, len(pictures), max(1, share))]
        return [found for part in self._pool.map(self._encode, parts) for found in part]

    def _encode(self, pixels: Sequence[Pixels]) -> list[Features]:
        tensors = self.image_features(np.stack(pixels))
        arrays = {name: value.half().cpu().numpy() for name, value in tensors.items()}
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(pixels))]

    @torch.inference_mode()
    def image_features(self, pixels: Pixels) -> dict[str, Tensor]:
        """One batch uint8 [B, S, S, 3] -> pooled [B, E], grid [B, P, Dg], statistics [B, Ds]
        (the last only if the backbone has it); float32 tensors on the device."""
        x = self.normalise(pixels)
        if not self.precision_note:
            self._dtype, self.precision_note = choose_precision(
                self.device, lambda: self.features_of(x)["pooled"]
            )
        autocast = torch.autocast(self.device.type, self._dtype) if self._dtype else nullcontext()
        with autocast:
            features = self.features_of(x)
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
        visual = self.visual
        if isinstance(visual, TimmModel):
            return _timm_features(visual, x, self.spec.statistics)
        if isinstance(visual, VisionTransformer):
            out = visual.forward_intermediates(
                x, indices=1, normalize_intermediates=True, output_fmt="NLC"
            )
            pooled = F.normalize(out["image_features"], dim=-1)
            return {"pooled": pooled, "grid": out["image_intermediates"][-1]}
        raise CheckpointError(
            f"{self.name} has an image tower that imgrank has no tokens for "
            f"({type(visual).__name__}). Use a timm or ViT backbone."
        )

    def tokenize(self, prompts: Iterable[str]) -> Tensor:
        """Prompts -> token ids [B, T], padded to the context length."""
        if self._tokenizer is None:
            options = {"bpe_path": str(self.spec.merges)} if self.spec.merges else {}
            with warnings.catch_warnings(), _without_hub():
                # OpenCLIP's tokenizer leaves its merges file for the garbage collector to close.
                warnings.simplefilter("ignore", ResourceWarning)
                self._tokenizer = open_clip.get_tokenizer(
                    f"local-dir:{self.spec.folder}", **options
                )
        tokenizer = self._tokenizer
        assert tokenizer is not None
        return tokenizer(list(prompts)).to(self.device)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> embeddings [B, E], float32, L2-normalised."""
        model: Any = self.text
        return self._by_batch(prompts, lambda ids: model.encode_text(ids, normalize=True))

    def text_tokens(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> [B, T, Dt], float32: after the final LayerNorm, at every position."""
        model: Any = self.text

        def tokens(ids: Tensor) -> Tensor:
            out = model.forward_intermediates(
                text=ids, text_indices=1, normalize_intermediates=True, intermediates_only=True
            )
            last: Tensor = out["text_intermediates"][-1]
            return last

        return self._by_batch(prompts, tokens)

    @torch.inference_mode()
    def _by_batch(self, prompts: Sequence[str], run: Callable[[Tensor], Tensor]) -> Tensor:
        if not prompts:
            raise ValueError("no prompts")
        parts = [run(part) for part in torch.split(self.tokenize(prompts), TEXT_BATCH)]
        return torch.cat(parts).float()

    def _load(self) -> Any:
        spec = self.spec
        if file_sha256(spec.weights) != spec.weights_sha256:
            raise CheckpointError(
                f"{spec.weights} is not the file that {RECORD} names (sha256 differs): it is "
                "damaged or was exchanged. Fetch the backbone again."
            )
        try:
            with _without_hub():
                model = open_clip.create_model(
                    f"local-dir:{spec.folder}", require_pretrained=True, pretrained_text=False
                )
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"OpenCLIP cannot load {spec.folder}: {error}") from error
        if self.overrides:
            self._override(model)
        return model.eval().requires_grad_(False)

    def _override(self, model: nn.Module) -> None:
        try:
            unknown = model.load_state_dict(self.overrides, strict=False).unexpected_keys
        except RuntimeError as error:  # another shape
            raise CheckpointError(
                f"tensors do not fit the backbone {self.name}: {error}"
            ) from error
        if unknown:
            raise CheckpointError(f"the backbone {self.name} has no {', '.join(unknown)}.")


@contextmanager
def _without_hub() -> Iterator[None]:
    """A folder may name parts that are on the Hub; nothing is fetched that nobody asked for."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _timm_features(visual: Any, x: Tensor, statistics: Sequence[int]) -> dict[str, Tensor]:
    trunk = visual.trunk
    maps: list[Tensor] = []
    if statistics:
        final, maps = trunk.forward_intermediates(x, indices=list(statistics))
    else:
        final = trunk.forward_features(x)
    features = {"pooled": F.normalize(visual.head(trunk.forward_head(final)), dim=-1)}
    if final.ndim == 4:
        features["grid"] = final.flatten(2).transpose(1, 2)  # [B, C, h, w] -> [B, P, Dg]
    else:
        features["grid"] = final[:, getattr(trunk, "num_prefix_tokens", 0) :]
    if maps:
        features["statistics"] = statistics_token(maps)
    return features


def statistics_token(maps: Sequence[Tensor]) -> Tensor:
    """Maps [B, C_k, h_k, w_k] -> [B, sum of 2 C_k]: mean, then standard deviation, of each."""
    parts: list[Tensor] = []
    for values in maps:
        variance, mean = torch.var_mean(values.float(), dim=(2, 3), correction=0)
        parts += [mean, variance.sqrt()]
    return torch.cat(parts, dim=1)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every timm batch norm that directly follows a convolution into it, in place.

    With running mean m and variance v, scale g, shift b: W' = W g / sqrt(v + eps),
    b' = (c - m) g / sqrt(v + eps) + b, where c is the convolution's bias. Only for models in
    evaluation mode whose children stand in the order in which they run (EfficientNet does).
    """
    conv: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if conv is not None and isinstance(child, BatchNormAct2d):
            norm: Any = child
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            bias = norm.bias - norm.running_mean * scale
            if conv.bias is not None:
                bias = bias + conv.bias * scale
            conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
            conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
            setattr(module, name, nn.Sequential(norm.drop, norm.act))
        else:
            fold_batch_norm(child)
        conv = child if isinstance(child, nn.Conv2d) else None


def describe(folder: Path, name: str, statistics: Sequence[int] = ()) -> BackboneSpec:
    """Write `imgrank.json` of a backbone folder: digest of its weights, its name and widths.

    A merges file is recorded if the folder holds one named `merges.txt.gz`.
    """
    record: dict[str, Any] = {"format": FORMAT, "name": name, "statistics": list(statistics)}
    if (folder / "merges.txt.gz").is_file():
        record["merges"] = "merges.txt.gz"
    (folder / RECORD).unlink(missing_ok=True)
    record["weights_sha256"] = read_spec(folder).weights_sha256
    _write(folder, record)
    backbone = Backbone(folder)
    S = backbone.image_size
    features = backbone.image_features(np.zeros((1, S, S, 3), np.uint8))
    tokens = backbone.text_tokens([""])
    widths = {kind: value.shape[-1] for kind, value in features.items() if kind != "pooled"}
    record["widths"] = {
        **widths,
        "text": tokens.shape[-1],
        "embed": features["pooled"].shape[-1],
    }
    record["grid_tokens"] = features["grid"].shape[1]
    _write(folder, record)
    return read_spec(folder)


def _write(folder: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
