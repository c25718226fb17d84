"""`sort --near-duplicates` through the public door."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from model_folders import PHOTOS, Run, runner
from PIL import ExifTags, Image

import imgrank.pipeline as pipeline
from imgrank import Options, sort
from imgrank.api import Ranking
from imgrank.data.near_duplicates import PAN, framed, made
from imgrank.errors import UsageError
from imgrank.rankers.source import BackboneSource
from imgrank.results.bursts import ALIKE

QUALITY = "by image quality"
GROUPS = [
    {"astronaut", "astronaut-noisy"},
    {"cat", "cat-blurred", "cat-very-blurred"},
    {"coffee", "coffee-compressed", "coffee-underexposed"},
    {"rocket", "rocket-low-resolution"},
]
ALONE = {"clock-camera-moved", "galaxies", "photographer"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


def stems(ranking: Ranking) -> list[str]:
    return [row.path.stem for row in ranking]


def groups(ranking: Ranking) -> list[set[str]]:
    found: dict[int, set[str]] = {}
    for row in ranking:
        if row.burst is not None:
            found.setdefault(row.burst, set()).add(row.path.stem)
    return [found[number] for number in sorted(found)]


def test_groups_and_the_best_of_each_by_the_instruction() -> None:
    plain = sort(PHOTOS, QUALITY)
    grouped = sort(PHOTOS, QUALITY, near_duplicates="group")
    assert stems(grouped) == stems(plain)
    assert sorted(groups(grouped), key=min) == GROUPS
    first = [min(stems(plain).index(name) for name in group) for group in groups(grouped)]
    assert first == sorted(first)  # numbered in the order of the best
    best = sort(PHOTOS, QUALITY, near_duplicates="keep-best")
    bests = [stems(plain)[place] for place in first]
    assert stems(best) == [s for s in stems(plain) if s in ALONE or s in bests]
    assert [row.rank for row in best] == list(range(1, 8))
    for row in best:
        group = next((g for g in GROUPS if row.path.stem in g), {row.path.stem})
        assert {row.path.stem, *(path.stem for path in row.others)} == group
    # What comes after, on the store that is there now.
    assert (
        stems(sort(PHOTOS, QUALITY, near_duplicates="keep-best", reverse=True)) == stems(best)[::-1]
    )
    assert stems(sort(PHOTOS, QUALITY, near_duplicates="keep-best", top=3)) == stems(best)[:3]
    limit = best[2].score
    under = sort(PHOTOS, QUALITY, near_duplicates="keep-best", maximum=limit)
    assert stems(under) == stems(best)[2:]
    worst = sort(PHOTOS, "worst quality first", near_duplicates="keep-best")
    assert stems(worst) == [
        s for s in stems(plain)[::-1] if s in ALONE or s in {_last(g, plain) for g in GROUPS}
    ]
    several = sort(PHOTOS, by=["quality", "brightness"], near_duplicates="group")
    assert sorted(groups(several), key=min) == GROUPS
    refined = sort(PHOTOS, QUALITY, refine="pairs:5", near_duplicates="keep-best")
    order = stems(sort(PHOTOS, QUALITY, refine="pairs:5"))
    tops = {min(group, key=order.index) for group in GROUPS}
    assert stems(refined) == [name for name in order if name in ALONE | tops]


def _last(group: set[str], ranking: Ranking) -> str:
    return max(group, key=stems(ranking).index)


def test_a_second_run_opens_no_picture_and_loads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sort(PHOTOS, QUALITY, near_duplicates="group")
    monkeypatch.setattr(pipeline, "read_file", lambda _: pytest.fail("nothing needs reading"))
    monkeypatch.setattr(BackboneSource, "compute", lambda *_: pytest.fail("features are known"))
    assert sort(PHOTOS, QUALITY, near_duplicates="group").rows == first.rows
    sort(PHOTOS, QUALITY, near_duplicates="keep-best:0.9")


def test_a_burst_by_its_times(tmp_path: Path) -> None:
    """Two frames of a pan are too far apart for their detail; a second apart they are a burst."""
    image = Image.open(PHOTOS / "rocket.jpg").convert("RGB")
    frames = [framed(image, PAN, "2"), made(image, PAN, "2")]

    def found(*seconds: str) -> list[set[str]]:
        folder = tmp_path / "-".join(seconds)
        folder.mkdir()
        for name, frame, second in zip("ab", frames, seconds, strict=True):
            exif = Image.Exif()
            exif[ExifTags.Base.Model] = "One"
            if second:
                taken = f"2026:11:22 10:00:{second}"
                exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
            Image.open(io.BytesIO(frame)).save(folder / f"{name}.jpg", exif=exif)
        return groups(sort(folder, "by brightness", near_duplicates="group"))

    assert found("10", "12") == [{"a", "b"}]
    assert found("10", "14") == []
    assert found("", "") == []


def test_every_folder_is_a_set_of_its_own(tmp_path: Path) -> None:
    for folder, names in (("a", ("cat", "coffee")), ("b", ("cat", "cat-blurred", "rocket"))):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(PHOTOS / f"{name}.jpg", tmp_path / folder)
    apart = sort(tmp_path, QUALITY, near_duplicates="keep-best", per_folder=True)
    assert [(row.folder.name, row.path.stem) for row in apart if row.folder] == [
        ("a", "coffee"),
        ("a", "cat"),
        ("b", "cat"),
        ("b", "rocket"),
    ]
    together = sort(tmp_path, QUALITY, near_duplicates="keep-best")
    assert stems(together) == ["coffee", "cat", "rocket"]
    assert [path.parent.name for path in together[1].others] == ["b", "b"]


def test_what_cannot_be_looked_at_stays_on_its_own(tmp_path: Path) -> None:
    whole = (PHOTOS / "cat.jpg").read_bytes()
    for name, data in (("whole", whole), ("copy", whole), ("cut", whole[: len(whole) // 2])):
        (tmp_path / f"{name}.jpg").write_bytes(data)
    said: list[str] = []
    found = sort(
        tmp_path,
        "largest file first",
        near_duplicates="keep-best",
        options=Options(notify=said.append),
    )
    assert stems(found) == ["copy", "cut"]
    assert [row.burst for row in found] == [1, None]
    assert "near-duplicates: 1 left out for one better picture (--format json lists them)" in said
    assert any("1 picture could not be compared" in line and "cut.jpg" in line for line in said)


def test_the_formats_have_fields_for_it(run: Run) -> None:
    arguments = ("sort", str(PHOTOS), QUALITY, "--near-duplicates")
    result = run(*arguments, "keep-best", "--top", "2")
    header, *lines = (line.split("\t") for line in result.stdout.splitlines())
    assert header[-3:] == ["burst", "others", "path"]
    assert [line[-3:-1] for line in lines] == [["1", "1"], ["2", "2"]]
    assert "near-duplicates: 6 left out for 4 better pictures" in result.stderr
    document = json.loads(run(*arguments, "keep-best", "-q", "-f", "json").stdout)
    images = {Path(image["path"]).stem: image for image in document["images"]}
    assert images["galaxies"]["burst"] is None
    assert images["galaxies"]["others"] == []
    assert {Path(p).stem for p in images["coffee"]["others"]} == GROUPS[2] - {"coffee"}
    table = run(*arguments, "group", "-f", "table").stdout.splitlines()
    assert table[0].split() == ["rank", "score", "percentile", "burst", "path"]
    assert len(table) == 14
    header, *lines = (line.split("\t") for line in run(*arguments, "group").stdout.splitlines())
    assert header[-2:] == ["burst", "path"]
    assert sorted(line[-2] for line in lines) == sorted(["", "", "", *"1122233344"])
    paths = run(*arguments, "keep-best", "-f", "paths").stdout.split()
    assert [Path(path).stem for path in paths][:2] == ["astronaut", "coffee"]


def test_a_wrong_word_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="is not 'keep-best' or 'group'"):
        sort(PHOTOS, QUALITY, near_duplicates="best")


def test_the_help_names_the_usual_level(run: Run) -> None:
    assert f"the usual {ALIKE:g}" in " ".join(run("sort", "--help").stdout.split())
