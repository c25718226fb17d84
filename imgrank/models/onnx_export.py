"""Exports a tower to an ONNX graph, and says whether that graph may take torch's place.

The graph is made by torch's tracing exporter, which needs the `onnx` package and nothing else, and
takes a second for the embedded backbone (the newer exporter took 15 and wants `onnxscript`).
Pixels go in normalised; the batch is open. What may take torch's place:

* images: on pictures of the user, float16 as they are kept, every output: each row's cosine with
  torch's at least `COSINE`, no value further off than `DIFFERENCE` of the largest one. Float16
  itself rounds by 0.0005. Measured: 0.0007 (`tiny`), 0.0004 (ViT-B/32-256), cosines 0.9999997;
* texts: the same in float32, and the token ids of `ODD_PROMPTS` are those of OpenCLIP's tokenizer;
* whether it is as fast as torch on this machine is found by a timed trial.

The verdict is written beside the graph (`models/onnx.py` has the layout), and remembered if it is
bad. The folder appears by one rename when all is there.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer, default_bpe
from torch import Tensor, nn

from imgrank.models import towers
from imgrank.models.loading import load_tokenizer
from imgrank.models.onnx import (
    FORMAT,
    GRAPH,
    VERDICT,
    WEIGHTS,
    ImageGraph,
    TextGraph,
    Tower,
    versions,
)
from imgrank.models.spec import BackboneSpec
from imgrank.models.tokenizer import BYTE_PAIRS, CLEANING, JSON

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgrank.models.backbone import Backbone

__all__ = ["ODD_PROMPTS", "export", "parity"]

COSINE, DIFFERENCE = 0.9999, 0.002

OPSET = 17
LARGEST = 1_900_000_000  # bytes; a graph file cannot be larger than 2 GB
ABANDONED = 3600  # seconds
TRIALS, TRIAL_SECONDS = 8, 4.0

ODD_PROMPTS = (
    "a cat",
    "",
    " \t\n",
    "A  PHOTO\nof Two Dogs.",
    "don't we've I'LL they're 'S",
    "Ünïcödé naïve — schön, İstanbul ſ ẞ ﬁ",
    "e\u0301 and \u200bzero width",
    "猫と犬, 고양이, кошка, قطة, बिल्ली",
    "🐈🐕 👨‍👩‍👧 ❤️",
    "&lt;b&gt; &amp;amp; &eacute; fish &chips",
    "<start_of_text> hi <END_OF_TEXT>",
    "schÃ¶n, â€œquotedâ€\x9d",
    "‘curly’ “quotes” … ½ №5 12,345.67",
    "a_b-c/d\\e {f} [g] #h @i",
    "\x1b[31mred\x1b[0m\x00",
    "aaaa aaa aaaaaaaa",
    "supercalifragilisticexpialidocious" * 5,
    "word " * 300,
)


class _Image(nn.Module):
    def __init__(self, visual: nn.Module, statistics: Sequence[int]) -> None:
        super().__init__()
        self.visual, self.statistics = visual, statistics

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(towers.image_features(self.visual, x, self.statistics).values())


class _Text(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return towers.text_embeddings(self.model, ids), towers.text_tokens(self.model, ids)


class _RefusedError(Exception):
    """Why a graph cannot take torch's place."""


def export(
    tower: Tower,
    backbone: Backbone,
    target: Path,
    spec: BackboneSpec,
    pictures: Sequence[NDArray[np.uint8]],
) -> str:
    """Writes the folder `target`; returns what speaks against its graph, "" if nothing does.

    pictures: uint8 [S, S, 3] each, to compare and to time with; unused for the text tower.
    A disk that is full is no verdict: nothing is written then.
    """
    staging = target.parent / f".{target.name}-{os.getpid()}"
    facts: dict[str, Any] = {"format": FORMAT, "model": spec.name, "identity": spec.identity}
    facts |= {"versions": versions(), "agrees": False, "fast": False, "why": ""}
    try:
        shutil.rmtree(target, ignore_errors=True)  # of other versions
        for left in target.parent.glob(f".{target.name}-*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            _check_room(backbone.visual if tower == "image" else backbone.text, staging)
            measured = _image if tower == "image" else _text
            facts |= measured(backbone, staging, spec, pictures)
        except OSError:
            raise
        except Exception as error:  # the exporter and the runtime raise nearly anything
            facts["why"] = _line(error)
            for path in staging.iterdir():
                path.unlink()
        (staging / VERDICT).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        staging.rename(target)
    except OSError as error:  # another process may have been quicker
        return "" if target.is_dir() else f"not taken: {error}"
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return str(facts["why"]) if facts["agrees"] else f"not taken: {facts['why']}"


def parity(wanted: NDArray[Any], got: NDArray[Any]) -> tuple[float, float]:
    """Two arrays [B, ..., D] -> least cosine of rows; largest difference, by the largest value."""
    a, b = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (wanted, got))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.maximum(lengths, 1e-12)
    cosine = np.where((a == b).all(1), 1.0, cosine)  # rows of zeros
    return float(cosine.min()), float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-12))


def _image(
    backbone: Backbone, folder: Path, spec: BackboneSpec, pictures: Sequence[NDArray[np.uint8]]
) -> dict[str, Any]:
    wanted = backbone.encode_images(pictures)
    if backbone.precision.dtype is not None:
        raise _RefusedError(f"torch has a quicker way here, {backbone.precision_note}")
    x = backbone.normalise(np.stack(pictures[:2]))
    _trace(_Image(backbone.visual, spec.statistics), x, list(wanted[0]), folder)
    graph = ImageGraph(folder, spec, {"fast": True})
    got = graph.features(pictures)
    facts = _agreement({n: _pair(wanted, got, n) for n in wanted[0]})
    ratio = _speed(lambda: backbone.encode_images(pictures), lambda: graph.features(pictures))
    why = "" if ratio >= 1 else f"for many pictures torch is quicker, {1 / ratio:.2f} times"
    return facts | {"fast": ratio >= 1, "speed": round(ratio, 3), "why": why}


def _text(backbone: Backbone, folder: Path, spec: BackboneSpec, _: Sequence[Any]) -> dict[str, Any]:
    prompts = list(ODD_PROMPTS)
    ids = backbone.tokenize(prompts)
    _trace(_Text(backbone.text), ids[:2], ["embedding", "tokens"], folder)
    facts = {"tokenizer": _keep_tokenizer(spec, folder, prompts)}
    graph = TextGraph(folder, facts)
    if not np.array_equal(graph.tokenize(prompts), ids.cpu().numpy()):
        raise _RefusedError("its tokenizer gives other tokens than OpenCLIP's")
    wanted = {
        "embedding": backbone.encode_text(prompts).cpu().numpy(),
        "tokens": backbone.text_tokens(prompts).cpu().numpy(),
    }
    agreed = _agreement({n: (array, graph.encode(n, prompts)) for n, array in wanted.items()})
    return facts | agreed | {"fast": True}


def _agreement(pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, Any]:
    """Raises _RefusedError if any output differs."""
    found = {name: parity(*pair) for name, pair in pairs.items()}
    for name, (cosine, difference) in found.items():
        if not (cosine >= COSINE and difference <= DIFFERENCE):  # not a number is neither
            raise _RefusedError(
                f"its {name} differs from torch's (cosine {cosine:.6f}, by {difference:.2g})"
            )
    return {
        "agrees": True,
        "cosine": {name: cosine for name, (cosine, _) in found.items()},
        "difference": {name: difference for name, (_, difference) in found.items()},
    }


def _pair(
    wanted: Sequence[Any], got: Sequence[Any], name: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.stack([f[name] for f in wanted]), np.stack([f[name] for f in got])


def _speed(old: Callable[[], Any], new: Callable[[], Any]) -> float:
    """How many times as fast the new one is: the best of some trials of each, which take turns.
    (Medians would be those of a machine that other programs use.)"""
    spent: tuple[list[float], list[float]] = [], []
    began = time.perf_counter()
    for number in range(TRIALS):
        for run, seconds in zip((old, new), spent, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        if number and time.perf_counter() - began > TRIAL_SECONDS:
            break
    return min(spent[0]) / min(spent[1])


def _trace(module: nn.Module, example: Tensor, outputs: list[str], folder: Path) -> None:
    """Writes the graph and its weights."""
    import onnx

    path = str(folder / GRAPH)
    # `dynamo` came with torch 2.5, and became the default later.
    known = inspect.signature(torch.onnx.export).parameters
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in known else {}
    with torch.no_grad(), _exporting():
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            input_names=["x"],
            output_names=outputs,
            dynamic_axes={name: {0: "B"} for name in ("x", *outputs)},
            opset_version=OPSET,
            **options,
        )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=WEIGHTS)


def _keep_tokenizer(spec: BackboneSpec, folder: Path, prompts: list[str]) -> dict[str, Any]:
    """Writes the tokenizer's file into the folder and returns its facts, see `open_tokenizer`."""
    tokenizer: Any = load_tokenizer(spec)
    clean = next((n for n in CLEANING if n in getattr(tokenizer.clean_fn, "__name__", "")), None)
    if clean is None:
        raise _RefusedError("its tokenizer cleans texts in a way that imgrank does not know")
    facts = {"clean": clean, "context_length": int(tokenizer.context_length)}
    if isinstance(tokenizer, SimpleTokenizer) and tokenizer.reduction_fn is None:
        shutil.copyfile(spec.merges or default_bpe(), folder / "merges.txt.gz")
        return facts | {"kind": BYTE_PAIRS, "file": "merges.txt.gz"}
    if isinstance(tokenizer, HFTokenizer) and not tokenizer.tokenizer_mode:
        inner: Any = tokenizer.tokenizer
        tokenizer(prompts[:1])
        text = inner.backend_tokenizer.to_str()
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        return facts | {
            "kind": JSON,
            "file": "tokenizer.json",
            "pad_id": int(inner.pad_token_id),
            "pad_token": str(inner.pad_token),
            "pad_side": str(inner.padding_side),
            "zeroed": int(inner.sep_token_id) if tokenizer.strip_sep_token else None,
        }
    raise _RefusedError(f"its tokenizer ({type(tokenizer).__name__}) needs torch")


def _check_room(module: nn.Module, folder: Path) -> None:
    """Raises _RefusedError if the graph would not go into one file, OSError if not on the disk."""
    need = sum(tensor.numel() * 4 for tensor in module.state_dict().values())
    if need > LARGEST:
        raise _RefusedError(f"the tower has {need / 1e9:.1f} GB, a graph holds 2 GB")
    free = shutil.disk_usage(folder).free
    if free < 2 * need:
        raise OSError(f"{free / 1e6:.0f} MB are free on the disk, it needs {2 * need / 1e6:.0f}")


@contextmanager
def _exporting() -> Iterator[None]:
    """No warnings of the exporter (it is the older one, on purpose) and no fused attention, for
    which ONNX has no operator. Both switches are of the whole process and are put back."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
