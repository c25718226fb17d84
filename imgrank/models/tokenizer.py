"""Prompts -> token ids without torch, for text towers that run without it (`models/onnx.py`).

Two kinds, each kept as one file and a few facts in the folder of an exported tower:

* byte pairs: OpenCLIP's `SimpleTokenizer`. Its file of merges gives the vocabulary: 256 bytes, the
  same 256 at the end of a word, one token a merge, then the marks of start and end. Read by the
  code below, with the same `ftfy` and `regex` that OpenCLIP takes;
* a `tokenizer.json` of the tokenizers library: SigLIP and others.

Texts are cleaned as OpenCLIP does before: repaired (`ftfy`), HTML entities replaced twice, white
space joined, and then, by kind, put into lower case, or also freed of punctuation. Whether the ids
are those of OpenCLIP is not taken on trust: `models/onnx_export.py` compares both on odd prompts.
"""

from __future__ import annotations

import gzip
import html
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BYTE_PAIRS", "CLEANING", "JSON", "Tokenizer", "open_tokenizer"]

Tokenizer = Callable[[Sequence[str]], "NDArray[np.int64]"]
"""Texts -> ids [n, T], padded to the context length."""

BYTE_PAIRS, JSON = "byte pairs", "tokenizers"
MERGES_READ = 48_894  # OpenCLIP reads no more, whatever the file holds
START, END = "<start_of_text>", "<end_of_text>"
WORDS = rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"


def open_tokenizer(folder: Path, facts: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of an exported tower.

    facts: `kind`, `file` in the folder, `clean`, `context_length`; for JSON also `pad_id`,
    `pad_token`, `pad_side` and `zeroed` (an id to be replaced by 0, or None).
    Raises OSError, ValueError or KeyError if they cannot be used.
    """
    clean = CLEANING[facts["clean"]]
    length = int(facts["context_length"])
    path = folder / facts["file"]
    if facts["kind"] == BYTE_PAIRS:
        return _byte_pairs(path, clean, length)
    if facts["kind"] == JSON:
        return _json(path, clean, length, facts)
    raise ValueError(f"unknown kind of tokenizer {facts['kind']!r}")


# ---- cleaning ------------------------------------------------------------------------------------


def _repaired(text: str) -> str:
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _spaced(text: str) -> str:
    return " ".join(_repaired(text).split())


def _bare(text: str) -> str:
    without = _repaired(text).replace("_", " ").translate(_PUNCTUATION)
    return " ".join(without.lower().split())


_PUNCTUATION = str.maketrans("", "", string.punctuation)
CLEANING: Mapping[str, Callable[[str], str]] = {
    "lower": lambda text: _spaced(text).lower(),
    "whitespace": _spaced,
    "canonicalize": _bare,
}
"""OpenCLIP's names of what it does to a text first."""


# ---- byte pairs ----------------------------------------------------------------------------------


def _byte_pairs(path: Path, clean: Callable[[str], str], length: int) -> Tokenizer:
    import regex

    with gzip.open(path) as file:
        lines = file.read().decode("utf-8").split("\n")[1 : MERGES_READ + 1]
    symbols = _symbols()
    merges = [tuple(line.split()) for line in lines]
    rank = {merge: number for number, merge in enumerate(merges)}
    vocabulary = [*symbols.values(), *(f"{s}</w>" for s in symbols.values())]
    vocabulary += ["".join(merge) for merge in merges] + [START, END]
    number = {token: i for i, token in enumerate(vocabulary)}
    words = regex.compile(WORDS, regex.IGNORECASE)

    def ids(text: str) -> Iterator[int]:
        yield number[START]
        for word in words.findall(clean(text)):
            if word in (START, END):
                yield number[word]
                continue
            letters = [symbols[byte] for byte in word.encode("utf-8")]
            letters[-1] += "</w>"
            yield from (number[part] for part in _merged(letters, rank))
        yield number[END]

    def tokenize(texts: Sequence[str]) -> NDArray[np.int64]:
        import numpy as np

        out = np.zeros((len(texts), length), np.int64)
        for row, text in zip(out, texts, strict=True):
            found = list(ids(text))
            row[: len(found)] = found[:length]
            if len(found) > length:
                row[-1] = number[END]
        return out

    return tokenize


def _symbols() -> dict[int, str]:
    """A visible character for each byte: itself where it is one, else the next from 256 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + n) for n, b in enumerate(others)}


def _merged(parts: list[str], rank: Mapping[tuple[str, ...], int]) -> list[str]:
    """Joins neighbours, everywhere the pair of lowest rank first, until no pair has a rank."""
    while len(parts) > 1:
        pairs = set(pairwise(parts))
        best = min(pairs, key=lambda pair: rank.get(pair, len(rank)))
        if best not in rank:
            break
        joined: list[str] = []
        for part in parts:
            # A pair that was joined just now differs from `best[0]`, so nothing is joined twice.
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return parts


# ---- the tokenizers library ----------------------------------------------------------------------


def _json(
    path: Path, clean: Callable[[str], str], length: int, facts: Mapping[str, Any]
) -> Tokenizer:
    from tokenizers import Tokenizer as Compiled

    compiled: Any = Compiled.from_file(str(path))
    compiled.enable_truncation(length)
    compiled.enable_padding(
        length=length,
        pad_id=facts["pad_id"],
        pad_token=facts["pad_token"],
        direction=facts["pad_side"],
    )

    def tokenize(texts: Sequence[str]) -> NDArray[np.int64]:
        import numpy as np

        encoded = compiled.encode_batch([clean(text) for text in texts])
        out = np.array([e.ids for e in encoded], np.int64).reshape(len(texts), length)
        if facts["zeroed"] is not None:
            out[out == facts["zeroed"]] = 0
        return out

    return tokenize
