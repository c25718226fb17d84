"""Where a Qwen2.5-VL lies that is kept outside the models folder. No torch.

Such a model is large and often shared with other programs, so nobody wants a second copy. What was
trained on one knows it by its digest alone; so that it is found again, each such folder that was
once named by its path is remembered in `elsewhere.json` of the cache folder. As all that is
remembered there this is a convenience: where it cannot be read or written nothing is found.
"""

from __future__ import annotations

from pathlib import Path

from imgrank.models.digests import cache_file, read_memory, write_memory
from imgrank.models.vlm_spec import is_vlm

__all__ = ["elsewhere", "remember"]

MOST = 20  # folders


def remember(folder: Path) -> None:
    """Notes a folder, once."""
    memory, key = cache_file("elsewhere.json"), str(folder.resolve())
    if key not in read_memory(memory):
        write_memory(memory, key, True, MOST)


def elsewhere() -> list[Path]:
    """The folders that are remembered and still hold such a model, the newest first."""
    known = reversed(read_memory(cache_file("elsewhere.json")))
    return [folder for folder in map(Path, known) if is_vlm(folder)]
