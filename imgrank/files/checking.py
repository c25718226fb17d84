"""Can a plan be carried out as a whole? Asked before anything changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from imgrank.errors import UsageError
from imgrank.files.plan import Plan

__all__ = ["check"]

BLOCK = 4096
"""Bytes that a file's size is rounded up to, as on most file systems."""


def check(plan: Plan) -> None:
    """Raises UsageError if the target cannot be written to, has too little room for what is copied
    (or moved from another file system), or hard links are asked for to another file system."""
    places = _Places()
    needed: dict[int, int] = {}  # bytes, by device
    where: dict[int, Path] = {}
    for step in plan.steps:
        device = places.device(step.target.parent)
        if device is None:
            continue
        if step.action == "hardlink" and places.device_of(step.source) not in (None, device):
            raise UsageError(
                f"{plan.target} is on another file system than {plan.shown(step.source)}, where "
                "no hard link can lead. Leave --hard away, or use --copy-to."
            )
        moves_far = step.action == "move" and places.device(step.source.parent) != device
        if step.action == "copy" or moves_far:
            where.setdefault(device, step.target.parent)
            needed[device] = needed.get(device, 0) + _size(step.source)
    for folder in {step.target.parent for step in plan.steps} if plan.target is not None else ():
        there = places.existing(folder)
        if not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"nothing can be written to {there}; name another folder.")
    for device, size in needed.items():
        free = shutil.disk_usage(places.existing(where[device])).free
        if size > free:
            raise UsageError(
                f"the files need {_bytes(size)}, but {plan.target} has {_bytes(free)} free. Make "
                "room, name a folder on another drive, or take fewer pictures."
            )


class _Places:
    """What is there of folders that are still to be made; each is looked at once."""

    def __init__(self) -> None:
        self._existing: dict[Path, Path] = {}
        self._devices: dict[Path, int | None] = {}

    def existing(self, folder: Path) -> Path:
        """The folder, or the nearest above it that is there."""
        if folder not in self._existing:
            there = folder
            while not os.path.lexists(there) and there != there.parent:
                there = there.parent
            self._existing[folder] = there
        return self._existing[folder]

    def device(self, folder: Path) -> int | None:
        """None if it cannot be told."""
        if folder not in self._devices:
            self._devices[folder] = self.device_of(self.existing(folder))
        return self._devices[folder]

    def device_of(self, path: Path) -> int | None:
        """Of what a link leads to."""
        try:
            return path.stat().st_dev
        except OSError:
            return None


def _size(path: Path) -> int:
    """Bytes on the drive, roughly; 0 if it is gone by now, which the step itself will find."""
    try:
        return -(-path.stat().st_size // BLOCK) * BLOCK
    except OSError:
        return 0


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
