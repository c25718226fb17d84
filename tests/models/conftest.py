"""`copied`: a folder of the tiny Qwen2.5-VL that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(tiny_vlm_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_vlm_folder, tmp_path / "copied"))
