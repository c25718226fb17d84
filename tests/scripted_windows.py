"""A model that looks at several pictures at once and answers as a script has it.

The pictures are grey, and their grey is their value: the script sees the values in the order shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imgrank.rankers.rarl import RARLRanker

__all__ = ["answer", "asked_by", "greys", "right"]

Script = Callable[[list[int]], str]


def greys(folder: Path, values: Sequence[int], instruction: str = "by age") -> Path:
    """FOLDER/ratings.csv for `--data csv`: all test pictures, each rated by its own grey."""
    folder.mkdir(exist_ok=True)
    lines = ["path,instruction,value,split"]
    for number, value in enumerate(values):
        Image.new("RGB", (40, 40), (value,) * 3).save(folder / f"{number:02}.png")
        lines.append(f"{number:02}.png,{instruction},{value},test")
    table = folder / "ratings.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def answer(*items: tuple[int, float]) -> str:
    """Well formed, with these (image_id, value)."""
    listed = ", ".join(f'{{"image_id": {k}, "value": {v}}}' for k, v in items)
    return f"<think>I looked.</think><answer>[{listed}]</answer>"


def right(values: list[int]) -> str:
    """The truth."""
    return answer(*sorted(enumerate(values, 1), key=lambda item: item[1]))


def asked_by(monkeypatch: pytest.MonkeyPatch, script: Script) -> list[list[int]]:
    """From now on every vision-language model answers so. The windows it is shown go into the list
    that is returned."""
    shown: list[list[int]] = []

    def ask(ranker: RARLRanker, windows: Sequence[Sequence[Any]], query: Any) -> list[str]:
        values = [[image.convert("L").getpixel((0, 0)) for image in window] for window in windows]
        shown.extend(values)
        return [script(window) for window in values]

    monkeypatch.setattr(RARLRanker, "ask", ask)
    monkeypatch.setattr(RARLRanker, "seconds", lambda ranker, pictures: None)
    return shown
