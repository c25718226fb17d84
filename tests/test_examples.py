"""Everything in examples/ runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*command: str) -> str:
    # `imgrank` of this very environment, whatever else is on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    return done.stdout


def test_rank() -> None:
    lines = run(sys.executable, str(EXAMPLES / "rank.py")).splitlines()
    assert lines[0] == "by image quality: adapter tiny-quality"
    assert [line.split()[0] for line in lines[1:14]] == [str(n) for n in range(1, 14)]


def test_rank_takes_folder_and_instruction() -> None:
    lines = run(sys.executable, str(EXAMPLES / "rank.py"), str(EXAMPLES), "darkest first")
    assert lines.startswith("darkest first: measured")


def test_best_three(tmp_path: Path) -> None:
    odd = tmp_path / "odd\nname"
    odd.mkdir()
    for photo in (EXAMPLES / "photos").glob("c*.jpg"):
        (odd / photo.name).write_bytes(photo.read_bytes())
    listed = run(str(EXAMPLES / "best_three.sh"), str(odd), str(tmp_path / "best")).splitlines()
    assert len(listed) == 3
    assert set(listed) <= {p.name for p in odd.iterdir()}
