"""What a dry run prints, in all formats."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from imgrank.files.plan import Plan, Step
from imgrank.images import Skip
from imgrank.results.output import FORMATS, Format
from imgrank.results.plans import write_plan

SOURCE, TARGET = Path("/p/in"), Path("/p/to")
PLAN = Plan(
    "move",
    Path("to"),
    [TARGET],
    [
        Step("move", SOURCE / "a\n.nef", TARGET / "a\n.nef", 0),
        Step("move", SOURCE / "a\n.xmp", TARGET / "a\n.xmp", 0, picture=False),
        Step("move", SOURCE / "b.jpg", SOURCE / ".imgrank-1-0.tmp", 1),
        Step("move", SOURCE / ".imgrank-1-0.tmp", TARGET / "\udcff.jpg", 1),
    ],
    [Step("move", TARGET / "c.jpg", TARGET / "c.jpg", 2)],
    [Skip(Path("in/d.jpg"), "no such file any more")],
    typed={SOURCE: Path("in"), TARGET: Path("to")},
)


def written(format: Format, plan: Plan = PLAN, nul: bool = False) -> bytes:
    stream = io.BytesIO()
    write_plan(plan, format, stream, nul=nul)
    return stream.getvalue()


def test_tsv() -> None:
    assert written("tsv").split(b"\n") == [
        b"action\tfrom\tto\tnote",
        rb"move	in/a\n.nef	to/a\n.nef	",
        rb"move	in/a\n.xmp	to/a\n.xmp	companion",
        b"move\tin/b.jpg\tto/\xff.jpg\t",
        b"move\tto/c.jpg\tto/c.jpg\tthere already",
        b"stay\tin/d.jpg\t\tno such file any more",
        b"",
    ]


def test_csv() -> None:
    assert written("csv").splitlines()[0] == b"action,from,to,note"
    assert b'move,"in/a\n.nef","to/a\n.nef",\n' in written("csv")


def test_json() -> None:
    found = json.loads(written("json"))
    assert found["plan"] == {"verb": "move", "target": "to", "folders": ["/p/to"]}
    assert found["images"][2] == {
        "action": "move", "from": "in/b.jpg", "to": "to/\udcff.jpg", "note": ""
    }  # fmt: skip
    assert found["images"][4]["to"] is None
    assert found["skipped"] == []


def test_json_lines() -> None:
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [line["note"] for line in lines] == [
        "", "companion", "", "there already", "no such file any more"
    ]  # fmt: skip
    assert lines[0]["plan"]["verb"] == "move"


def test_paths_are_the_targets() -> None:
    assert written("paths", nul=True) == b"to/a\n.nef\0to/a\n.xmp\0to/\xff.jpg\0to/c.jpg\0"


def test_table() -> None:
    lines = written("table").decode().splitlines()
    assert lines[1].split() == ["move", r"in/a\x0a.nef", r"to/a\x0a.nef"]
    assert lines[5].split(maxsplit=3) == ["stay", "in/d.jpg", "-", "no such file any more"]


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_plan(format: Format) -> None:
    written(format, Plan("copy", Path("to")))
