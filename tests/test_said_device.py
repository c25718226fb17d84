"""Where a model ran is said by the call that ran it, however many calls a process makes."""

import shutil
from pathlib import Path

import imgrank
from imgrank import Options

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def test_a_call_that_finds_all_known_says_of_no_device(tmp_path: Path) -> None:
    shutil.copy(PHOTOS / "cat.jpg", tmp_path)
    heard: list[list[str]] = []
    for _ in range(2):
        lines: list[str] = []
        imgrank.search(tmp_path, "a cat", options=Options(notify=lines.append))
        heard.append([line for line in lines if line.startswith("ran on ")])
    assert [len(lines) for lines in heard] == [1, 0]
