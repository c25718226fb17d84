"""Estimates in the six formats: exact texts, strange names."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from imgrank.images import Skip
from imgrank.results.estimate import Box, Estimate
from imgrank.results.estimates import Estimator, write_estimates
from imgrank.results.sink import FORMATS, Format

DECADE = Estimator("decade", "mine", "abc", "l2rclip", "year", ("1920s", "1930s"), 0.8)
AGE = Estimator("age", "ages", "def", "l2rclip", "years", faces=True)
DECADES = [
    Estimate(
        Path("p/a.jpg"),
        value=1931.24567,
        low=1926.5,
        high=1936,
        level="1930s",
        probability=0.625,
        levels=(("1920s", 0.375), ("1930s", 0.625)),
        likely=("1920s", "1930s"),
    ),
    Estimate(Path("p/b.jpg"), "out_of_range", reason="in colour"),
    Estimate(Path("p/c.jpg"), value=1984, level="1980s", source="exif"),
]
FACES = [
    Estimate(
        Path("a.jpg"),
        value=34.56,
        low=28.125,
        high=41,
        level="30-39",
        probability=0.5,
        face=1,
        box=Box(1, 2.5, 30, 40, 0.75),
    ),
    Estimate(Path("a.jpg"), value=5, level="0-9", face=2, box=Box(0, 0, 9, 9, cropped=True)),
    Estimate(Path("b.jpg"), "no_face", reason="no face was found"),
]


def written(rows: list[Estimate], model: Estimator, format: Format, **options: object) -> str:
    out = io.BytesIO()
    write_estimates(rows, model, format, out, **options)  # type: ignore[arg-type]
    return out.getvalue().decode("utf-8", "surrogateescape")


def test_tsv_of_decades() -> None:
    assert written(DECADES, DECADE, "tsv") == (
        "status\testimate\tunit\tlow\thigh\tlevel\tprobability\tlikely\tp(1920s)\tp(1930s)\tsource"
        "\tmethod\tmodel\treason\tpath\n"
        "ok\t1931.25\tyear\t1926.5\t1936\t1930s\t0.625\t1920s, 1930s\t0.375\t0.625\tmodel"
        "\tl2rclip\tmine\t\tp/a.jpg\n"
        "out_of_range\t\tyear\t\t\t\t\t\t\t\tmodel\tl2rclip\tmine\tin colour\tp/b.jpg\n"
        "ok\t1984\tyear\t\t\t1980s\t\t\t\t\texif\tl2rclip\tmine\t\tp/c.jpg\n"
    )


def test_csv_of_faces() -> None:
    assert written(FACES, AGE, "csv") == (
        "status,face,estimate,unit,low,high,level,probability,x,y,width,height,confidence,cropped,"
        "source,method,model,reason,path\n"
        "ok,1,34.56,years,28.125,41,30-39,0.5,1,2.5,30,40,0.75,no,model,l2rclip,ages,,a.jpg\n"
        "ok,2,5,years,,,0-9,,0,0,9,9,1,yes,model,l2rclip,ages,,a.jpg\n"
        "no_face,,,years,,,,,,,,,,,model,l2rclip,ages,no face was found,b.jpg\n"
    )


def test_json_of_decades() -> None:
    found = json.loads(written(DECADES, DECADE, "json", skipped=[Skip(Path("x"), "no picture")]))
    assert found["model"] == {
        "task": "decade",
        "name": "mine",
        "revision": "abc",
        "method": "l2rclip",
        "unit": "year",
        "levels": ["1920s", "1930s"],
        "coverage": 0.8,
    }
    assert found["images"][0] == {
        "status": "ok",
        "estimate": 1931.25,
        "unit": "year",
        "interval": [1926.5, 1936],
        "level": "1930s",
        "probability": 0.625,
        "likely": ["1920s", "1930s"],
        "levels": {"1920s": 0.375, "1930s": 0.625},
        "source": "model",
        "reason": "",
        "path": "p/a.jpg",
    }
    outside, dated = found["images"][1:]
    nothing = {"estimate": None, "interval": None, "level": None, "probability": None}
    assert nothing.items() <= outside.items()
    assert (outside["levels"], outside["likely"], outside["reason"]) == ({}, [], "in colour")
    assert (dated["estimate"], dated["level"], dated["source"]) == (1984, "1980s", "exif")
    assert found["skipped"] == [{"path": "x", "reason": "no picture"}]


def test_json_of_faces_has_boxes_and_no_levels() -> None:
    first, _, nobody = json.loads(written(FACES, AGE, "json"))["images"]
    box = {"x": 1, "y": 2.5, "width": 30, "height": 40, "confidence": 0.75, "cropped": False}
    assert (first["face"], first["box"]) == (1, box)
    assert (nobody["face"], nobody["box"], nobody["status"]) == (None, None, "no_face")
    assert "levels" not in first
    assert "likely" not in first


def test_json_lines_stand_on_their_own() -> None:
    lines = [json.loads(line) for line in written(DECADES, DECADE, "jsonl").splitlines()]
    whole = json.loads(written(DECADES, DECADE, "json"))
    assert lines == [{**row, "model": whole["model"]} for row in whole["images"]]


def test_paths_are_pictures_with_an_estimate_each_once() -> None:
    assert written(DECADES, DECADE, "paths") == "p/a.jpg\np/c.jpg\n"
    assert written(FACES, AGE, "paths", nul=True) == "a.jpg\0"


def test_tables() -> None:
    assert written(DECADES, DECADE, "table") == (
        "decade  probability        likely                  estimate  path\n"
        " 1930s         0.62  1920s, 1930s  1931 (1926 to 1936) year  p/a.jpg\n"
        "     -            -             -              out of range  p/b.jpg\n"
        " 1980s            -             -        1984 year, by EXIF  p/c.jpg\n"
    )
    assert written(FACES, AGE, "table") == (
        "face  group  probability                 estimate  path\n"
        "   1  30-39         0.50  34.6 (28.1 to 41) years  a.jpg\n"
        "   2    0-9            -                  5 years  a.jpg\n"
        "   -      -            -                  no face  b.jpg\n"
    )


NASTY = ["tab\tnew\nline\r.jpg", "caf\udce9.jpg", 'q"uote,.jpg', "b\\.jpg"]


@pytest.mark.parametrize("name", NASTY)
def test_nothing_is_lost_of_a_strange_name(name: str) -> None:
    rows = [Estimate(Path(name), value=1, level="1920s")]
    for format in FORMATS:
        text = written(rows, DECADE, format)
        if format == "csv":
            (row,) = csv.DictReader(io.StringIO(text, newline=""))
            assert row["path"] == name
        elif format == "json":
            assert json.loads(text)["images"][0]["path"] == name
            assert text.isascii()
        elif format == "tsv":
            assert text.count("\n") == 2
        elif format == "paths":
            assert os.fsencode(text) == os.fsencode(name) + b"\n"
        elif format == "table":
            assert text.count("\n") == 2
            assert "\t" not in text


def test_no_rows_at_all() -> None:
    assert json.loads(written([], DECADE, "json"))["images"] == []
    assert written([], AGE, "tsv").startswith("status\tface\t")
    assert written([], DECADE, "paths") == ""
