"""The six formats: exact texts, strange names, round trips."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgrank.images import Skip
from imgrank.results.output import FORMATS, Format, number, write, write_scores
from imgrank.results.ranking import Cell, Column, rank

QUALITY = Column(
    "by quality",
    "quality",
    "adapter",
    "tiny-quality",
    "abc123",
    "sort ...",
    "MOS",
    range=(0.0, 5.0),
)
DATE = Column("by date", "date", "measured", "-", "", "date", "s since 1970")
CAT = Column("a cat", None, "zero-shot", "tiny", "def", "a cat", "cosine", weight=0.5)
PATHS = [Path("p/a.jpg"), Path("p/b.jpg"), Path("q/c.jpg")]
SCORES: list[list[Cell]] = [[(2.5, 2.25, 2.75)], [(4.1234567, None, None)], [(2.5, None, None)]]
NASTY = ["[red]x.jpg", "tab\tnew\nline\r.jpg", "back\\slash.jpg", "caf\udce9.jpg", 'q"uote,.jpg']


def ranked(format: Format, columns: list[Column], scores: list[list[Cell]], **options: Any) -> str:
    out = io.BytesIO()
    per_folder = options.pop("per_folder", False)
    write(rank(PATHS, columns, scores, per_folder=per_folder), columns, format, out, **options)
    return out.getvalue().decode()


def scored(format: Format, columns: list[Column], scores: list[list[Cell]], **options: Any) -> str:
    out = io.BytesIO()
    write_scores(PATHS, columns, scores, format, out, **options)
    return out.getvalue().decode()


def test_tsv() -> None:
    assert ranked("tsv", [QUALITY], SCORES) == (
        "rank\tscore\tunit\tpercentile\tlow\thigh\tdirection\tmethod\tmodel\tpath\n"
        "1\t4.12346\tMOS\t100\t\t\tdescending\tadapter\ttiny-quality\tp/b.jpg\n"
        "2\t2.5\tMOS\t50\t2.25\t2.75\tdescending\tadapter\ttiny-quality\tp/a.jpg\n"
        "3\t2.5\tMOS\t50\t\t\tdescending\tadapter\ttiny-quality\tq/c.jpg\n"
    )


def test_csv_of_several_criteria_per_folder() -> None:
    scores: list[list[Cell]] = [
        [(2.0, None, None), (0.3, None, None)],
        [(4.0, None, None), (0.1, None, None)],
        [(1.0, None, None), (0.2, None, None)],
    ]
    assert ranked("csv", [QUALITY, CAT], scores, per_folder=True) == (
        "rank,score,unit,percentile,low,high,direction,method,model,folder,by quality,a cat,path\n"
        "1,0.215443,,100,,,descending,adapter+zero-shot,tiny-quality+tiny,p,4,0.1,p/b.jpg\n"
        "2,0.0464159,,0,,,descending,adapter+zero-shot,tiny-quality+tiny,p,2,0.3,p/a.jpg\n"
        "1,1,,100,,,descending,adapter+zero-shot,tiny-quality+tiny,q,1,0.2,q/c.jpg\n"
    )


def test_json() -> None:
    skipped = [Skip(Path("bad\udcff.jpg"), "not an image")]
    text = ranked("json", [QUALITY], SCORES, skipped=skipped)
    assert text.isascii()
    found = json.loads(text)
    assert found == {
        "criteria": [
            {
                "instruction": "by quality",
                "task": "quality",
                "method": "adapter",
                "model": "tiny-quality",
                "revision": "abc123",
                "prompt": "sort ...",
                "unit": "MOS",
                "direction": "descending",
                "reference": None,
                "weight": 1.0,
                "range": [0.0, 5.0],
                "refined": None,
                "zero_shot": False,
            }
        ],
        "images": [
            {
                "rank": place,
                "score": score,
                "unit": "MOS",
                "percentile": percentile,
                "interval": interval,
                "direction": "descending",
                "method": "adapter",
                "model": "tiny-quality",
                "path": path,
            }
            for place, score, percentile, interval, path in [
                (1, 4.12346, 100, None, "p/b.jpg"),
                (2, 2.5, 50, [2.25, 2.75], "p/a.jpg"),
                (3, 2.5, 50, None, "q/c.jpg"),
            ]
        ],
        "skipped": [{"path": "bad\udcff.jpg", "reason": "not an image"}],
    }
    lines = [json.loads(line) for line in ranked("jsonl", [QUALITY], SCORES).splitlines()]
    assert lines == [image | {"criteria": found["criteria"]} for image in found["images"]]


def test_json_of_several_criteria() -> None:
    scores: list[list[Cell]] = [[(1.0, 0.5, 2.0), (0.25, None, None)]] * 3
    found = json.loads(ranked("json", [QUALITY, CAT], scores, per_folder=True))
    assert [c["zero_shot"] for c in found["criteria"]] == [False, True]
    assert [c["weight"] for c in found["criteria"]] == [1.0, 0.5]
    assert found["images"][2] == {
        "rank": 1,
        "score": 1,
        "unit": "",
        "percentile": 100,
        "interval": None,
        "direction": "descending",
        "method": "adapter+zero-shot",
        "model": "tiny-quality+tiny",
        "folder": "q",
        "scores": [
            {"instruction": "by quality", "score": 1, "interval": [0.5, 2]},
            {"instruction": "a cat", "score": 0.25, "interval": None},
        ],
        "path": "q/c.jpg",
    }


def test_table() -> None:
    assert ranked("table", [QUALITY], SCORES) == (
        "rank                   score  percentile  path\n"
        "   1               4.123 MOS       100.0  p/b.jpg\n"
        "   2  2.5 (2.25 to 2.75) MOS        50.0  p/a.jpg\n"
        "   3                 2.5 MOS        50.0  q/c.jpg\n"
    )


def test_the_table_marks_what_nothing_was_trained_for() -> None:
    one: list[list[Cell]] = [[(0.25, None, None)]] * 3
    assert ranked("table", [CAT], one).splitlines()[:2] == [
        "rank  score (zero-shot)  percentile  path",
        "   1        0.25 cosine       100.0  p/a.jpg",
    ]
    both: list[list[Cell]] = [[(1.0, None, None), (0.25, None, None)]] * 3
    assert ranked("table", [QUALITY, CAT], both).splitlines()[:2] == [
        "rank  score  percentile  by quality  a cat (zero-shot)  path",
        "   1      1       100.0       1 MOS        0.25 cosine  p/a.jpg",
    ]
    assert scored("table", [QUALITY, CAT], both).splitlines()[0] == (
        "by quality  a cat (zero-shot)  path"
    )


def test_table_shows_dates_and_folds_paths() -> None:
    wide = Path("päth/" + "日本" * 12 + ".jpg")
    out = io.StringIO()
    rows = rank([wide, Path("b")], [DATE], [[(0.0, None, None)], [(1e300, None, None)]])
    write(rows, [DATE], "table", out, width=60)
    assert out.getvalue() == (
        "rank                score  percentile  path\n"
        "   1  1e+300 s since 1970       100.0  b\n"
        "   2  1970-01-01 00:00:00         0.0  päth/日本日本日本日本日\n"
        "                                       本日本日本日本日本日本日\n"
        "                                       本日本.jpg\n"
    )


def test_table_of_strange_names_cannot_drive_a_terminal() -> None:
    names = [*NASTY, "\x1b[2Jclear.jpg", "\u202egpj.exe", "👩\u200d🚀.jpg"]
    out = io.StringIO()
    rows = rank([Path(n) for n in names], [QUALITY], [[(1.0, None, None)]] * len(names))
    write(rows, [QUALITY], "table", out)
    head, *lines = out.getvalue().split("\n")[:-1]
    shown = {line[head.index("path") :] for line in lines}
    assert shown == {
        "[red]x.jpg",
        r"tab\x09new\x0aline\x0d.jpg",
        r"back\slash.jpg",
        r"caf\xe9.jpg",
        'q"uote,.jpg',
        r"\x1b[2Jclear.jpg",
        r"\u202egpj.exe",
        "👩\u200d🚀.jpg",
    }


def test_paths_are_the_bytes_of_the_names() -> None:
    found = [Path(name) for name in NASTY]
    rows = rank(found, [QUALITY], [[(float(-i), None, None)] for i in range(len(found))])
    out = io.BytesIO()
    write(rows, [QUALITY], "paths", out, nul=True)
    assert out.getvalue() == b"".join(os.fsencode(name) + b"\0" for name in NASTY)
    out = io.BytesIO()
    write(rows[:1], [QUALITY], "paths", out)
    assert out.getvalue() == b"[red]x.jpg\n"


def test_text_streams_over_bytes_take_undecodable_names() -> None:
    rows = rank([Path("caf\udce9.jpg")], [QUALITY], [[(1.0, None, None)]])
    for format in FORMATS:
        under = io.BytesIO()
        stream = io.TextIOWrapper(under, encoding="ascii")
        print("before", file=stream)
        write(rows, [QUALITY], format, stream)
        assert under.getvalue().startswith(b"before\n")
        shown = {"json": rb"caf\udce9", "jsonl": rb"caf\udce9", "table": rb"caf\xe9"}
        assert shown.get(format, b"caf\xe9") in under.getvalue()


def test_tsv_escapes_are_reversible() -> None:
    rows = rank([Path(name) for name in NASTY], [QUALITY], [[(1.0, None, None)]] * len(NASTY))
    out = io.BytesIO()
    write(rows, [QUALITY], "tsv", out)
    lines = out.getvalue().decode("utf-8", "surrogateescape").split("\n")[1:-1]
    assert len(lines) == len(NASTY)
    assert r"tab\tnew\nline\r.jpg" in {line.split("\t")[-1] for line in lines}
    assert r"back\\slash.jpg" in {line.split("\t")[-1] for line in lines}


FILE_NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda raw: b"\0" not in raw and b"/" not in raw and raw not in (b".", b"..")
)


@given(st.lists(FILE_NAMES, min_size=1, max_size=5, unique=True))
def test_names_survive_csv_and_json(raw: list[bytes]) -> None:
    found = [Path(os.fsdecode(name)) for name in raw]
    rows = rank(found, [QUALITY], [[(float(-i), None, None)] for i in range(len(found))])
    for format in ("json", "jsonl", "csv", "tsv"):
        out = io.BytesIO()
        write(rows, [QUALITY], format, out)
        if format == "json":
            names = [os.fsencode(i["path"]) for i in json.loads(out.getvalue())["images"]]
        elif format == "jsonl":
            names = [os.fsencode(json.loads(x)["path"]) for x in out.getvalue().splitlines()]
        elif format == "csv":
            text = io.StringIO(out.getvalue().decode("utf-8", "surrogateescape"), newline="")
            names = [os.fsencode(line["path"]) for line in csv.DictReader(text)]
        else:
            last = [x.split(b"\t")[-1] for x in out.getvalue().split(b"\n")[1:-1]]
            pairs = ((rb"\t", b"\t"), (rb"\n", b"\n"), (rb"\r", b"\r"))
            names = []
            for name in last:
                parts = name.split(rb"\\")
                for code, char in pairs:
                    parts = [part.replace(code, char) for part in parts]
                names.append(b"\\".join(parts))
        assert names == raw


def test_an_empty_order() -> None:
    assert ranked_nothing("tsv").count("\n") == 1
    assert ranked_nothing("table") == "rank  score  percentile  path\n"
    assert ranked_nothing("paths") == ranked_nothing("jsonl") == ""
    assert json.loads(ranked_nothing("json"))["images"] == []


def ranked_nothing(format: Format) -> str:
    out = io.StringIO()
    write([], [QUALITY], format, out)
    return out.getvalue()


WIDE: list[list[Cell]] = [
    [(2.5, 2.25, 2.75), (0.5, None, None)],
    [None, None],
    [(3.0, None, None), (1e-7, None, None)],
]


def test_scores_in_path_order() -> None:
    assert scored("tsv", [QUALITY, CAT], WIDE) == (
        "by quality\tby quality (low)\tby quality (high)\ta cat\tpath\n"
        "2.5\t2.25\t2.75\t0.5\tp/a.jpg\n"
        "\t\t\t\tp/b.jpg\n"
        "3\t\t\t1e-07\tq/c.jpg\n"
    )
    assert scored("table", [QUALITY, CAT], WIDE) == (
        "            by quality  a cat (zero-shot)  path\n"
        "2.5 (2.25 to 2.75) MOS         0.5 cosine  p/a.jpg\n"
        "                     -                  -  p/b.jpg\n"
        "                 3 MOS       1e-07 cosine  q/c.jpg\n"
    )
    assert scored("paths", [QUALITY, CAT], WIDE) == "p/a.jpg\nq/c.jpg\n"
    assert scored("csv", [CAT], [row[1:] for row in WIDE]) == (
        "a cat,path\n0.5,p/a.jpg\n,p/b.jpg\n1e-07,q/c.jpg\n"
    )


def test_scores_as_json() -> None:
    found = json.loads(scored("json", [QUALITY, CAT], WIDE, skipped=[Skip(Path("x"), "gone")]))
    assert found["images"][0] == {
        "scores": [
            {"instruction": "by quality", "score": 2.5, "interval": [2.25, 2.75]},
            {"instruction": "a cat", "score": 0.5, "interval": None},
        ],
        "path": "p/a.jpg",
    }
    assert found["images"][1]["scores"][0] == {
        "instruction": "by quality",
        "score": None,
        "interval": None,
    }
    assert found["skipped"] == [{"path": "x", "reason": "gone"}]
    lines = [json.loads(x) for x in scored("jsonl", [QUALITY, CAT], WIDE).splitlines()]
    assert [line["path"] for line in lines] == ["p/a.jpg", "p/b.jpg", "q/c.jpg"]
    assert all(line["criteria"] == found["criteria"] for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (-1e-320, "-9.99989e-321"),
        (3.14159265, "3.14159"),
        (999999.5, "1e+06"),
        (1700000000.0, "1700000000"),
        (-12345678.4, "-12345678"),
        (1e-7, "1e-07"),
        (1e20, "1e+20"),
        (7, "7"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text
    assert json.loads(text) == pytest.approx(value, rel=1e-5)


def test_a_closed_pipe_is_the_callers() -> None:
    class Closed(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        write(rank(PATHS, [QUALITY], SCORES), [QUALITY], "tsv", Closed())  # type: ignore[arg-type]
