"""`imgrank age` on pictures whose faces are known, with the detectors of the extra: nothing heavy
is imported, and what is said is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rank_checkpoints import rank_checkpoint

import imgrank
from imgrank.images.faces import detector

pytest.importorskip("cv2", reason="needs the extra faces")
pytest.importorskip("dlib", reason="needs the extra faces")

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.jpg"
AGAIN = """
import sys
from imgrank import Options, age
found = age(sys.argv[1], options=Options(sys.argv[2]))
heavy = ("cv2", "dlib", "torch", "open_clip", "onnxruntime")
print(found.known, [name for name in heavy if name in sys.modules])
print(found.rows)
"""


def test_a_second_run_loads_neither_a_detector_nor_a_model(tmp_path: Path, home: Path) -> None:
    assert detector().name == "hog"
    photo = Path(shutil.copy(PHOTO, tmp_path / "a.jpg"))
    model = rank_checkpoint(tmp_path / "ages", "age")  # of a kind that needs no torch
    first = imgrank.age(photo, options=imgrank.Options(str(model)))
    assert (first.computed, [row.status for row in first.rows]) == (1, ["ok"])
    out = subprocess.run(
        [sys.executable, "-c", AGAIN, str(photo), str(model)],
        capture_output=True,
        text=True,
        env={**os.environ, "IMGRANK_HOME": str(home)},
    )
    assert out.stdout.splitlines() == ["1 []", repr(first.rows)], out.stderr
