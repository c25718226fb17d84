"""The shape of a Qwen2.5-VL from its config.json alone: parameters, multiplications, cache. No
torch, no weights.

    shape_of(folder)                    # a folder that is here
    PUBLISHED["qwen2.5-vl-3b"]          # a published one that is not

Counted as transformers' Qwen2_5_VLForConditionalGeneration computes: a vision tower over patches,
most of its blocks attending within windows and a few over the whole picture; a merger that makes
one token of merge x merge patches; a language model over text and picture tokens. A multiplication
with its addition counts as 2 FLOPs; norms, activations and rotations are not counted.
`tests/models/test_vlm_shape.py` compares with the real classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgrank.errors import CheckpointError

__all__ = ["PUBLISHED", "Shape", "shape_from", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the language model: width, inner (of the MLP), layers, heads, key_heads (for keys and
    values), head (width of one), words, tied (whether the output shares the embeddings).

    Of the vision tower: depth, v_width, v_inner, whole (blocks that attend over the whole picture),
    patch, time (frames of a patch), merge (patches a side of a token), window (pixels), colours.
    """

    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head: int
    words: int
    tied: bool
    depth: int
    v_width: int
    v_inner: int
    whole: int
    patch: int = 14
    time: int = 2
    merge: int = 2
    window: int = 112
    colours: int = 3

    # ---- parameters

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of a layer's q, k, v, o, gate, up and down, where LoRA sits."""
        query, key = self.heads * self.head, self.key_heads * self.head
        attention = (self.width, query), (self.width, key), (self.width, key), (query, self.width)
        return (*attention, *2 * ((self.width, self.inner),), (self.inner, self.width))

    @property
    def layer(self) -> int:
        """Multiplied weights of a layer, which are all but norms and the biases of q, k and v."""
        return sum(one * other for one, other in self.projections)

    @property
    def language(self) -> int:
        """Parameters of the language model, with its embeddings and the output."""
        biases = (self.heads + 2 * self.key_heads) * self.head
        per_layer = self.layer + biases + 2 * self.width
        return self.layers * per_layer + self.width + self.embeddings

    @property
    def embeddings(self) -> int:
        return self.words * self.width * (1 if self.tied else 2)

    @property
    def vision(self) -> int:
        """Parameters of the vision tower with its merger."""
        norms_and_biases = 2 * self.v_width + 4 * self.v_width + 2 * self.v_inner + self.v_width
        merged = self.merge**2 * self.v_width
        merger = self.v_width + (merged + 1) * merged + (merged + 1) * self.width
        return self._first + self.depth * (self._block + norms_and_biases) + merger

    @property
    def parameters(self) -> int:
        return self.language + self.vision

    def lora(self, rank: int) -> int:
        """Parameters of LoRA factors on all projections of the language model."""
        return self.layers * rank * sum(one + other for one, other in self.projections)

    # ---- a picture, a token

    def picture_tokens(self, pixels: int) -> int:
        """Tokens of a picture of about so many pixels."""
        return max(1, pixels // (self.merge * self.patch) ** 2)

    @property
    def cached(self) -> int:
        """Numbers that a token leaves in the cache of keys and values."""
        return 2 * self.layers * self.key_heads * self.head

    # ---- FLOPs of a forward pass

    def vision_flops(self, tokens: int) -> float:
        """Of one picture that becomes so many tokens."""
        patches = tokens * self.merge**2
        near = min(patches, (self.window // self.patch) ** 2)  # patches of a window
        seen = self.whole * patches + (self.depth - self.whole) * near
        merged = self.merge**2 * self.v_width
        weights = patches * (self._first + self.depth * self._block)
        return (
            2 * weights
            + 4 * patches * seen * self.v_width
            + 2 * tokens * merged * (merged + self.width)
        )

    def language_flops(self, tokens: int, seen: int, foretold: int) -> float:
        """Of so many tokens of one row that each attend over `seen`; `foretold`: for how many of
        them the chances of the next word are computed. Attention is counted in full: what lies
        ahead is masked, not left out."""
        attention = 4 * seen * self.heads * self.head
        layers = tokens * self.layers * (2 * self.layer + attention)
        return layers + 2 * foretold * self.words * self.width

    @property
    def _first(self) -> int:
        return self.colours * self.time * self.patch**2 * self.v_width

    @property
    def _block(self) -> int:
        return 4 * self.v_width**2 + 3 * self.v_width * self.v_inner


_VISION = {"depth": 32, "v_width": 1280, "v_inner": 3420, "whole": 4}
_SMALL = {"width": 2048, "inner": 11008, "layers": 36, "heads": 16, "key_heads": 2, "head": 128}
_LARGE = {"width": 3584, "inner": 18944, "layers": 28, "heads": 28, "key_heads": 4, "head": 128}
PUBLISHED: Mapping[str, Shape] = {
    "qwen2.5-vl-3b": Shape(**_SMALL, words=151936, tied=True, **_VISION),
    "qwen2.5-vl-7b": Shape(**_LARGE, words=152064, tied=False, **_VISION),
}
"""Seen in copies of the published config.json in public repositories, not on the Hub itself: for
the 3B in a listing headed "Qwen/Qwen2.5-VL-3B-Instruct, model config", for the 7B in a test of
NVIDIA TensorRT-LLM (with fewer layers) and the arguments of a Qwen2_5_VLConfig that loads it. They
give 3,754,622,976 and 8,292,166,656 parameters, the numbers that others report of the weights."""


def shape_of(folder: Path) -> Shape:
    """Raises CheckpointError if the folder has no config.json of a Qwen2.5-VL."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return shape_from(config)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not tell the shape of a Qwen2.5-VL ({type(error).__name__}: {error}). "
            "Fetch the model again."
        ) from error


def shape_from(config: Mapping[str, Any]) -> Shape:
    """From the content of a config.json: the language model's fields at its top, as published, or
    in `text_config`, as transformers 5 writes them. Raises KeyError or TypeError for another."""
    text, vision = config.get("text_config") or config, config["vision_config"]
    heads = int(text["num_attention_heads"])
    depth = int(vision.get("depth", 32))
    whole = vision.get("fullatt_block_indexes", (7, 15, 23, 31))
    return Shape(
        width=int(text["hidden_size"]),
        inner=int(text["intermediate_size"]),
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        key_heads=int(text.get("num_key_value_heads") or heads),
        head=int(text.get("head_dim") or int(text["hidden_size"]) // heads),
        words=int(text["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        depth=depth,
        v_width=int(vision["hidden_size"]),
        v_inner=int(vision.get("intermediate_size", 3420)),
        whole=sum(0 <= int(block) < depth for block in whole),
        patch=int(vision.get("patch_size", 14)),
        time=int(vision.get("temporal_patch_size", 2)),
        merge=int(vision.get("spatial_merge_size", 2)),
        window=int(vision.get("window_size", 112)),
        colours=int(vision.get("in_channels", vision.get("in_chans", 3))),
    )
