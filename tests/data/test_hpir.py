"""HPIR's reader: votes and golden labels, what contradicts them, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imgrank.data.catalogue import place, read, read_groups
from imgrank.data.hpir import Golden, confidence
from imgrank.data.labelled import ReadOptions
from imgrank.errors import DataError, UsageError


def record(**changed: Any) -> dict[str, Any]:
    """A query whose aspects are those of the paper's Figure 14, but for the number of votes."""
    return {
        "query": "vintage airplane collection",
        "A": ["a1.jpg", "a2.jpg"],
        "B": ["b1.jpg", "b2.jpg"],
        "Accuracy": {
            "human labels": ["A"] * 3 + ["B"] * 5,
            "golden label": {"label": "B", "confidence": 0.25},
        },
        "Aesthetic": {"human labels": ["B"] * 23 + ["A"] * 9},
        "Diversity": {"golden label": {"label": "A", "confidence": 0.0625}},
        **changed,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "hpir"
    root.mkdir()
    for name in ("a1", "a2", "b1", "b2"):
        (root / f"{name}.jpg").touch()
    return root


def write(folder: Path, *records: Any) -> Path:
    (folder / "labels.json").write_text(json.dumps(records))
    return folder


def test_golden_labels_and_their_weights(folder: Path) -> None:
    (found,) = read_groups("hpir", write(folder, record()))
    assert found.query == "vintage airplane collection"
    assert [[path.name for path in group] for group in found.pictures] == [
        ["a1.jpg", "a2.jpg"],
        ["b1.jpg", "b2.jpg"],
    ]
    assert found.golden == {
        "accuracy": Golden("B", 0.25),  # 2 * 5/8 - 1
        "aesthetics": Golden("B", 0.4375),  # 2 * 23/32 - 1
        "diversity": Golden("A", 0.0625),
    }


def test_the_weight_of_votes() -> None:
    assert [confidence(30, 0), confidence(20, 10), confidence(15, 15)] == [
        1,
        pytest.approx(1 / 3),
        0,
    ]


def test_a_line_a_query_says_the_same(folder: Path) -> None:
    whole = read_groups("hpir", write(folder, record(), record(query="a cat")))
    (folder / "labels.json").rename(folder / "away")
    lines = [json.dumps(record()), "", json.dumps(record(query="a cat"))]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    assert read_groups("hpir", folder) == whole
    assert place("hpir", folder.parent) == folder


def test_tied_votes_have_no_weight_and_contradict_no_label(folder: Path) -> None:
    tied = {"human labels": ["A", "B"], "golden label": {"label": "B", "confidence": 0}}
    (found,) = read_groups("hpir", write(folder, record(Accuracy=tied)))
    assert found.golden["accuracy"].weight == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query": " "}, "query 1: no query"),
        ({"A": []}, "A is no list of pictures"),
        ({"Accuracy": {"human labels": ["A", "C"]}}, "Accuracy: 'human labels' is no list of A"),
        ({"Accuracy": {"human labels": [["A"]]}}, "Accuracy: 'human labels' is no list of A"),
        ({"Accuracy": {}}, "Accuracy has neither 'human labels' nor a 'golden label'"),
        ({"Accuracy": {"golden label": {"label": "C"}}}, "the golden label is 'C'"),
        ({"Accuracy": {"golden label": {"label": "A", "confidence": 2}}}, "the confidence is 2"),
        (
            {
                "Accuracy": {
                    "human labels": ["A", "A", "B"],
                    "golden label": {"label": "B", "confidence": 1 / 3},
                }
            },
            "the golden label is B with 0.333333, but 2 of 3 people said A and 1 B, which is A",
        ),
        (
            {
                "Accuracy": {
                    "human labels": ["A", "A", "A", "B"],
                    "golden label": {"label": "A", "confidence": 0.75},
                }
            },
            "which is A with 0.5",
        ),
    ],
)
def test_what_is_wrong_is_told(folder: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_groups("hpir", write(folder, record(**changed)))


def test_a_query_without_any_aspect(folder: Path) -> None:
    bare = {key: value for key, value in record().items() if key in ("query", "A", "B")}
    with pytest.raises(DataError, match="none of Accuracy, Aesthetic, Diversity"):
        read_groups("hpir", write(folder, bare))


def test_no_json_and_no_list(folder: Path) -> None:
    (folder / "labels.json").write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        read_groups("hpir", folder)
    (folder / "labels.json").write_text("{}")
    with pytest.raises(DataError, match="is no list of queries"):
        read_groups("hpir", folder)


def test_missing_pictures(folder: Path) -> None:
    (folder / "a2.jpg").unlink()
    gone = record(query="gone", A=["x.jpg"])
    write(folder, record(), gone)
    with pytest.raises(DataError, match="2 of 7 pictures are missing"):
        read_groups("hpir", folder)
    said: list[str] = []
    (found,) = read_groups("hpir", folder, ReadOptions(partial=True, report=said.append))
    assert [path.name for path in found.pictures[0]] == ["a1.jpg"]
    assert "hpir: 'gone' is left out: a group of it is missing" in said


def test_an_absent_set_says_how_to_lay_it_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no folder.*labels\.json"):
        read_groups("hpir", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"(?s)holds neither labels\.json.*no place where"):
        read_groups("hpir", tmp_path)


def test_it_has_no_values_to_order_by(folder: Path) -> None:
    with pytest.raises(UsageError, match="hpir has no values"):
        read("hpir", folder)
