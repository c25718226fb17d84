"""OpenCLIP's text towers from word embeddings on, for prompts of which some tokens are learnt.

The tower is frozen, the gradient goes through it. What it computes is OpenCLIP's own forward (a
test holds it against `encode_text` for every kind of tower), with two differences that change no
number: what is pooled is the position of the end token, an index that the caller knows, not a
search over ids; and behind a causal mask the padding after the longest prompt is left out, as
nothing before it sees it.

| tower | pooled | length |
| --- | --- | --- |
| CLIP and `tiny` (causal mask, pooled at the end token) | `ends` | the longest prompt's |
| no causal mask, or pooled at the last position (SigLIP) | as the tower does | the context's |
| CoCa (`cls_emb` appended, padding masked) | the appended token | the context's |
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from open_clip import CLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from imgrank.errors import UsageError
from imgrank.models.attention import attend

__all__ = ["Prompts", "WordTower", "read_prompts"]

Tokenize = Callable[[list[str]], Tensor]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts as tokens, taken apart.

    start, end: the ids that the tokenizer puts around every text; () where it puts none.
    pad: the id that it fills up with; SigLIP's is the end token.
    inner: the ids of each text between them.
    """

    texts: tuple[str, ...]
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    inner: tuple[tuple[int, ...], ...]

    def check(self, length: int, more: int = 0) -> None:
        """Whether every text, with `more` vectors before it, fits into `length` positions.

        Raises UsageError, which names the longest text.
        """
        longest = max(range(len(self.texts)), key=lambda k: len(self.inner[k]))
        tokens = len(self.inner[longest])
        needed = len(self.start) + more + tokens + len(self.end)
        if needed > length:
            marks = f"start, end and {more} context vectors" if more else "start and end"
            raise UsageError(
                f"the template {self.texts[longest]!r} has {tokens} tokens; with {marks} it needs "
                f"{needed} positions, and the text tower has a context length of {length}. Use a "
                f"shorter template{' or fewer context vectors' * bool(more)}."
            )


def read_prompts(tokenize: Tokenize, texts: Sequence[str]) -> Prompts:
    """Texts, none of them empty -> their tokens.

    tokenize: texts -> ids [B, T], padded behind to the context length T. Start, end and padding
    are what it makes of an empty text.
    Raises UsageError if a text has no tokens or more than T with start and end (OpenCLIP would cut
    it off in silence), or if the tokenizer marks start and end in another way.
    """
    *rows, empty = tokenize([*texts, ""]).tolist()
    T, pad = len(empty), empty[-1]
    found = [_unpadded(row, pad) for row in rows]
    start, end = _marks(_unpadded(empty, pad), found[0], pad)
    shown = 0 if end == (pad,) else len(end)  # an end like the padding went with it
    inner: list[tuple[int, ...]] = []
    for text, row in zip(texts, found, strict=True):
        if row[: len(start)] != [*start] or row[len(row) - shown :] != [*end][:shown]:
            raise UsageError(
                f"the tokenizer gives {text!r} the tokens {row}, without the start and end "
                f"{[*start, *end]} of an empty text. Use another backbone."
            )
        tokens = row[len(start) : len(row) - shown]
        if not tokens:
            raise UsageError(f"the template {text!r} has no tokens. Write a word into it.")
        if len(start) + len(tokens) + len(end) >= T:  # maybe cut off: counted word by word
            words = tokenize(text.split()).tolist()
            count = sum(len(_unpadded(ids, pad)) - len(start) - shown for ids in words)
            tokens += tokens[-1:] * (count - len(tokens))
        inner.append(tuple(tokens))
    prompts = Prompts(tuple(texts), start, end, pad, tuple(inner))
    prompts.check(T)
    return prompts


def _unpadded(row: Sequence[int], pad: int) -> list[int]:
    """Without the padding at the end; the same id may be a word further in front."""
    stop = len(row)
    while stop and row[stop - 1] == pad:
        stop -= 1
    return list(row[:stop])


def _marks(empty: list[int], other: list[int], pad: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start and end. empty, other: ids of an empty text and of another, without padding."""
    if not empty:
        return (), (pad,)  # padding is what ends a text, or as good as an end
    if len(empty) == 2:
        return (empty[0],), (empty[1],)
    if len(empty) == 1:
        return ((empty[0],), (pad,)) if other[:1] == empty else ((), (empty[0],))
    raise UsageError(
        f"the tokenizer makes {empty} of an empty text, in which imgrank does not know start and "
        "end. Use a backbone whose tokenizer pads behind the text and ends it with one token."
    )


class WordTower:
    """A frozen text tower of OpenCLIP that starts from word embeddings. No `nn.Module`, so that
    who holds one does not take its tensors for its own; it stays on its device.

    model: a `CLIP`, `CustomTextCLIP` or `CoCa`, with or without `visual`, as `load_tower` gives it.
    width: D of the word embeddings.   context_length: T.
    Raises UsageError for a tower of another kind.
    """

    def __init__(self, model: nn.Module) -> None:
        if any(p.is_inference() for p in model.parameters()):
            # Loaded inside torch.inference_mode: no gradient goes through such tensors.
            model = copy.deepcopy(model)
        part: Any = getattr(model, "text", model)
        self.own = isinstance(part, TextTransformer)
        if not (self.own or isinstance(part, CLIP)):
            raise UsageError(
                f"imgrank cannot begin at the word embeddings of a text tower "
                f"{type(part).__name__}. Use a backbone with OpenCLIP's own text tower."
            )
        self.part = part.eval().requires_grad_(False)
        self.pool: str = part.pool_type if self.own else part.text_pool_type
        self.eos_id: int = part.eos_id if self.own else part.text_eos_id
        self.cls: Tensor | None = part.cls_emb if self.own else None
        if self.pool == "none":
            raise UsageError(
                "this text tower pools nothing, so a text has no embedding. Use another backbone."
            )
        self.context_length: int = part.context_length
        self.width: int = part.token_embedding.weight.shape[1]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.part.token_embedding.weight.device
        return device

    def words(self, ids: Tensor) -> Tensor:
        """Ids [...] -> word embeddings [..., D], frozen."""
        return cast(Tensor, self.part.token_embedding(ids))

    def length(self, longest: int) -> int:
        """How many positions prompts need of which the longest has `longest` tokens."""
        cut = self.part.attn_mask is not None and self.cls is None and self.pool != "last"
        return longest if cut else self.context_length

    def check_ends(self, ids: Tensor, ends: Tensor) -> None:
        """Whether the tower would find the end tokens `ends` [B] of `ids` [B, T] by itself.

        Raises UsageError if it pools elsewhere: an end token that is not what it looks for.
        """
        found = ends
        if self.cls is None and self.pool == "argmax":
            found = ids.argmax(-1)
        elif self.cls is None and self.pool == "eos":
            found = (ids == self.eos_id).int().argmax(-1)
        if not torch.equal(found, ends):
            raise UsageError(
                f"this text tower pools ({self.pool}) at another token than the tokenizer's end "
                "of text: tokenizer and tower do not belong together. Use another backbone."
            )

    def embed(self, x: Tensor, ids: Tensor, ends: Tensor) -> Tensor:
        """Word embeddings x [B, T, D] -> [B, E], L2-normalised.

        ids [B, T]: their ids, of which only padding matters.   ends [B]: positions of the ends.
        T: what `length` gave, or the context length.
        """
        part, mask = self.part, self.part.attn_mask
        if self.cls is not None:
            x = torch.cat([x, self.cls.expand(len(x), 1, -1)], dim=1)
        n = x.shape[1]
        if mask is not None:
            mask = mask[:n, :n]
        if self.own and (part.use_pad_mask or self.cls is not None):
            padding = part._build_additive_mask(ids, n, x.dtype)  # [B heads, n, n]
            mask = padding if mask is None else mask + padding
        at = ends
        if self.cls is not None or self.pool == "last":
            at = torch.full_like(ends, n - 1)
        elif self.pool == "first":
            at = torch.zeros_like(ends)
        # LayerNorm is of each position by itself: behind the pooling it has less to do.
        pooled = part.ln_final(self._blocks(x + part.positional_embedding[:n], mask, at))
        projection = part.text_projection
        if isinstance(projection, nn.Linear):
            pooled = projection(pooled)
        elif projection is not None:
            pooled = pooled @ projection
        return F.normalize(pooled, dim=-1)

    def _blocks(self, x: Tensor, mask: Tensor | None, at: Tensor) -> Tensor:
        """x [B, n, D] -> the last block's output at positions `at` [B]: [B, D].

        mask: [n, n] or [B heads, n, n], as OpenCLIP makes it. Of OpenCLIP's usual blocks the last
        one then has only these positions to compute: of the two of `tiny`, nearly half the work.
        """
        transformer, rows = self.part.transformer, torch.arange(len(x), device=x.device)
        blocks = list(transformer.resblocks)
        if {type(block) for block in blocks} != {ResidualAttentionBlock}:
            out: Tensor = transformer(x, attn_mask=mask)
            return out[rows, at]
        if mask is not None:
            n = x.shape[1]
            mask = mask.view(1 if mask.ndim == 2 else len(x), -1, n, n)
        for block in blocks[:-1]:
            keys = block.ln_1(x)
            x = _behind(block, x, attend(block.attn, keys, keys, mask))
        keys = blocks[-1].ln_1(x)
        if mask is not None:  # the row of `at` alone
            mask = mask.expand(len(x), -1, -1, -1)[rows, :, at][:, :, None]  # [B, heads, 1, n]
        mixed = attend(blocks[-1].attn, keys[rows, at][:, None], keys, mask)
        return _behind(blocks[-1], x[rows, at][:, None], mixed)[:, 0]


def _behind(block: Any, x: Tensor, mixed: Tensor) -> Tensor:
    """What a block makes of x after its attention, of which `mixed` is the output."""
    x = x + block.ls_1(mixed)
    return cast(Tensor, x + block.ls_2(block.mlp(block.ln_2(x))))
