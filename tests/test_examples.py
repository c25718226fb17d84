"""Everything in examples/ runs as it stands."""

from __future__ import annotations

import json
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


def test_cull(tmp_path: Path) -> None:
    odd = tmp_path / "odd\nname"
    odd.mkdir()
    for name in ("cat.jpg", "cat-blurred.jpg", "coffee.jpg", "rocket.jpg"):
        (odd / f"a\n{name}").write_bytes((EXAMPLES / "photos" / name).read_bytes())
    (odd / "a\ncat.jpg.xmp").write_text("stars")
    before = {path: path.read_bytes() for path in odd.iterdir()}
    result = tmp_path / "result"
    printed = run(str(EXAMPLES / "cull.sh"), str(odd), str(result), "2")
    assert printed.count("\ncopy\t") == 3  # of the dry run: two pictures, one with its sidecar
    assert {path: path.read_bytes() for path in odd.iterdir()} == before
    found = json.loads((result / "best.json").read_text())
    assert [row["rank"] for row in found["images"]] == [1, 2]
    # Of the cats only one is among the best, and what was copied is its own.
    copies = {Path(row["to"]): Path(row["path"]) for row in found["images"]}
    assert [path.name[:5] for path in copies] == ["001__", "002__"]
    assert sum("cat" in path.name for path in copies) == 1
    for copy, original in copies.items():
        assert (copy.parent, copy.name[5:]) == (result / "best", original.name)
        assert copy.read_bytes() == before[original]
    assert len(list((result / "best").glob("*.xmp"))) == 1
    assert all((result / name).stat().st_size > 10_000 for name in ("all.html", "best.html"))
    header, *rows = (result / "bursts.tsv").read_text().splitlines()
    bursts = [row.split("\t")[header.split("\t").index("burst")] for row in rows]
    assert sorted(bursts) == ["", "", "1", "1"]
    run(sys.executable, "-m", "imgrank", "undo")
    assert not (result / "best").exists()
