"""Paper 002's figures: as its text has them, and beside ours as the paper's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripted_windows import asked_by, right

from imgrank.evaluate import standing_report
from imgrank.evaluate.evaluation import Request, evaluate
from imgrank.evaluate.published import figures_of
from imgrank.settings import load_settings

PAPER = Path(__file__).resolve().parents[3] / "shared" / "papers" / "002_f0138380eb4706a4.txt"
SETS = {"utkface": ("age", "mae"), "coco-rem": ("mean", "accuracy"), "ava": ("aesthetics", "srcc")}
MAIN = {2: "utkface", 4: "coco-rem", 5: "ava"}
SETTINGS = {"regression reward alone": "+ Regression", "ranking reward alone": "+ Ranking"}
TAUS = ("tau_2", "tau_4", "tau_8")


def rows_of(data: str) -> list[dict[str, object]]:
    return [row for row in figures_of(data, [SETS[data][0]]) if row["paper"] == "002"]


def as_printed(row: dict[str, object], figure: str) -> list[float | None]:
    """The row's four figures in the paper's units."""
    first = row.get(figure)
    if figure == "accuracy" and isinstance(first, float):
        first = round(100 * first, 2)
    return [first, *(row.get(name) for name in TAUS)]  # type: ignore[list-item]


def tables() -> list[dict[str, list[list[float | None]]]]:
    """Of every table of figures in the paper's text: its lines by method, several of one name one
    below the other."""
    if not PAPER.is_file():
        pytest.skip("no shared/papers beside the repository")
    found: list[dict[str, list[list[float | None]]]] = []
    backbone = ""
    for line in PAPER.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or cells[0].startswith(("System", "Instruct", "---")):
            continue
        if cells[0] == "Methods":
            found.append({})
        elif found and any(re.fullmatch(r"\d+\.\d+|-", cell) for cell in cells[1:]):
            backbone = cells[0] if cells[0].startswith("Qwen") else backbone
            name = f"{backbone} {cells[0]}" if cells[0] in ("+ SFT", "+ RARL") else cells[0]
            values = [float(cell) if cell not in ("-", "") else None for cell in cells[1:]]
            found[-1].setdefault(name, []).append(values)
    return found


def test_the_main_tables_are_the_papers() -> None:
    utkface, ablation, coco, ava, _ = tables()
    for number, printed in ((2, utkface), (4, coco), (5, ava)):
        name = MAIN[number]
        own = {row["method"]: row for row in rows_of(name) if row["table"] == number}
        assert own.keys() == printed.keys()
        for method, row in own.items():
            assert as_printed(row, SETS[name][1]) == printed[str(method)][0], (number, method)
    assert len(ablation) == 4


def test_the_ablations_are_the_papers() -> None:
    _, ablation, _, _, stages = tables()
    for at, (name, (_, figure)) in enumerate(SETS.items()):
        for setting, method in SETTINGS.items():
            (row,) = (row for row in rows_of(name) if row.get("setting") == setting)
            assert as_printed(row, figure) == ablation[method][0][4 * at : 4 * at + 4]
        # The other two lines of the table are lines of the main ones, and stand there.
        of_main = {row["method"]: row for row in rows_of(name) if "setting" not in row}
        for method, line in (("Qwen2.5-VL-3B", "Baseline"), ("Qwen2.5-VL-3B + RARL", "+ RARL")):
            label = line if line in ablation else f"Qwen2.5-VL-7B {line}"  # of the table above
            assert as_printed(of_main[method], figure) == ablation[label][0][4 * at : 4 * at + 4]
    rows = {row.get("setting"): row for row in rows_of("utkface") if row["table"] == 6}
    # Of the first stage's line the text has lost the name: its first cell is the MAE.
    assert as_printed(rows["first stage alone"], "mae") == [4.34, *stages["4.34"][0][:3]]
    assert as_printed(rows["without response mutation"], "mae") == stages["w.o. RMO"][0]


def test_the_figures_that_the_specification_repeats() -> None:
    own = {
        name: {
            row["method"]: as_printed(row, SETS[name][1])
            for row in rows_of(name)
            if row.get("own") and "setting" not in row
        }
        for name in SETS
    }
    assert {name: each["Qwen2.5-VL-7B + RARL"] for name, each in own.items()} == {
        "utkface": [3.81, 0.921, 0.905, 0.852],
        "coco-rem": [71.80, 0.893, 0.871, 0.823],
        "ava": [0.803, 0.875, 0.883, 0.871],
    }
    assert [each["Qwen2.5-VL-3B + RARL"][0] for each in own.values()] == [4.02, 68.73, 0.783]


def test_they_stand_beside_ours_as_the_papers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_vlm_folder: Path
) -> None:
    from PIL import Image

    for age in range(20, 60):  # some fall into the test part
        name = f"{age}_0_0_20170116{age}00{age}000.jpg.chip.jpg"
        Image.new("RGB", (40, 40), (age,) * 3).save(tmp_path / name, format="PNG")
    asked_by(monkeypatch, right)
    request = Request(
        "utkface", tmp_path, (f"rarl:{tiny_vlm_folder}",), sizes=(1, 2), rounds=5, groups=3
    )
    table = evaluate(request, load_settings()).table
    papers = [row for row in standing_report.rows(table) if row["kind"] == "paper"]
    single = {row["model"]: row["mae"] for row in papers if "images" not in row}
    pairs = {row["model"]: row["tau"] for row in papers if row.get("images") == 2}
    assert {row["images"] for row in papers if "images" in row} == {2}  # of no size not asked for
    assert single["paper 002, table 2: Qwen2.5-VL-7B + RARL"] == 3.81
    assert single["paper 001, table 7: adapter, ConvNeXt-L 320"] == 3.83
    assert pairs["paper 002, table 2: Qwen2.5-VL-3B + SFT"] == 0.771
    assert all("alone" not in name for name in (*single, *pairs))  # settings are in the JSON
    assert any("setting" in row for row in table["paper"])
    said = " ".join(standing_report.notes(table))
    assert "another split than the paper's, so they cannot be compared" in said
    assert "Paper 002 says neither which pictures it took nor how it drew groups" in said
    head, body = standing_report.shown(table, papers=True)
    assert head == ["paper", "MAE", "tau of 2"]
    assert ["002, table 2: Qwen2.5-VL-7B + RARL", "3.810", "0.921"] in body
