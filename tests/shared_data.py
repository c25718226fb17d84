"""The real data beside the repository, as tests want it; a test skips where it is not there."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

ARCHIVES = Path(__file__).resolve().parents[2] / "shared" / "data"


def archive(name: str) -> Path:
    """The tar file of a data set."""
    found = ARCHIVES / f"{name}.tar"
    if not found.is_file():
        pytest.skip(f"no shared/data/{name}.tar beside the repository")
    return found


def unpack(name: str, folder: Path, *, contents: bool = True) -> Path:
    """Unpacks a data set into `folder`, which then holds it under its name.

    contents: False for empty pictures of the real names, where names and tables are enough.
    """
    with tarfile.open(archive(name)) as tar:
        for member in tar.getmembers():
            if contents or not member.name.endswith((".jpg", ".png")):
                tar.extract(member, folder, filter="data")
            else:
                (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / member.name).touch()
    return folder
