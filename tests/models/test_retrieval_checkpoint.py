"""What a checkpoint tuned for search records, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from search_checkpoints import IMAGE, SCALE, TEXT, TINY, TUNED_SCALE, search_checkpoint

from imgrank.errors import CheckpointError
from imgrank.models import retrieval_checkpoint
from imgrank.models.checkpoint import (
    identity,
    load_logit_scale,
    load_overrides,
    load_tensors,
    read_config,
    save_checkpoint,
    towers_of,
)
from imgrank.models.spec import read_spec

ROW = {
    "data": "oasis, test themes",
    "n": 120,
    "human_beauty": 4.5,
    "human_beauty_interval": [4.25, 4.75],
    "human_beauty_before": 4.0,
    "human_beauty_gain": 0.5,
    "human_beauty_gain_interval": [0.25, 0.75],
    "recall@10": 0.5,
    "recall@10_interval": None,
    "by": "imgrank eval ...",
}
TABLE = [
    "By `imgrank eval ...`; 95 % intervals in brackets.",
    "",
    "| data | queries | figure | backbone | tuned | gain |",
    "| --- | ---: | --- | --- | --- | --- |",
    "| oasis, test themes | 120 | human beauty | 4.000 | 4.500 [4.250, 4.750] | "
    "+0.500 [+0.250, +0.750] |",
    "| oasis, test themes | 120 | recall@10 | - | 0.500 | - |",
]


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_what_it_records(tmp_path: Path) -> None:
    folder = search_checkpoint(tmp_path / "mine", measured=[ROW])
    config, spec = read_config(folder, "retrieval"), read_spec(TINY)
    assert config["backbone"] == {
        "name": "tiny",
        "digest": f"sha256:{spec.identity}",
        "views": ["own"],
        "tokens": ["pooled"],
        "replaced": ["image", "text"],
    }
    assert (config["licence"], config["made_by"], config["model"]) == ("mit", "a test", {})
    assert config["training"] == {"loss": "dpo", "seed": 0}
    assert config["measured"] == [ROW]
    assert "tasks" not in config
    assert load_tensors(folder) == {}
    assert sorted(load_overrides(folder)) == sorted([IMAGE, SCALE, TEXT])
    assert load_logit_scale(folder) == pytest.approx(2.718281828**TUNED_SCALE)
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlicense: mit\nlibrary_name: imgrank\npipeline_tag: zero-shot")
    assert "    imgrank search PHOTOS QUERY --model mine\n" in text
    assert "holds the tensors of the image and text towers" in text
    assert "\n".join(TABLE) in text
    assert retrieval_checkpoint.told(ROW) == [
        "oasis, test themes (n = 120), by imgrank eval ...",
        "  human beauty 4.500 [4.250, 4.750]; before 4.000; gain +0.500 [+0.250, +0.750]",
        "  recall@10 0.500",
    ]


def test_odd_rows_of_others_are_shown_as_far_as_they_go() -> None:
    row = {"by": ["x"], "a": 1, "a_interval": "wide", "a_before": [], "b": True, "c": {}, "d": 2.0}
    odd = {**row, "d_interval": [1, None], "d_gain": 1, "n_before": 3}
    assert retrieval_checkpoint.told(odd) == [
        "measured, by ['x']",
        "  a 1.000",
        "  d 2.000; gain +1.000",
    ]
    assert retrieval_checkpoint.table([odd, {}])[-2:] == [
        "| - | - | a | - | 1.000 | - |",
        "| - | - | d | - | 2.000 | +1.000 |",
    ]


def test_a_scale_is_of_neither_tower(tmp_path: Path) -> None:
    assert towers_of([IMAGE, SCALE, "logit_bias"]) == ["image"]
    assert towers_of([TEXT, "positional_embedding"]) == ["text"]
    folder = search_checkpoint(tmp_path / "pictures", (IMAGE, SCALE))
    assert read_config(folder)["backbone"]["replaced"] == ["image"]
    assert sorted(load_overrides(folder)) == sorted([IMAGE, SCALE])
    words = search_checkpoint(tmp_path / "words", (TEXT,))
    assert load_logit_scale(words) is None
    with pytest.raises(ValueError, match="no tensor of a tower"):
        search_checkpoint(tmp_path / "nothing", (SCALE,))


def test_only_what_differs_is_kept() -> None:
    before = {"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(2), "n": torch.tensor(3)}
    after = {"a": torch.tensor([1.0, 2.5]), "b": torch.full((2,), 1e-9), "n": torch.tensor(4)}
    found = retrieval_checkpoint.tensors(before, {**after, "new": torch.ones(1)})
    assert sorted(found) == ["tower.a", "tower.n"]  # 1e-9 is nought in float16
    assert found["tower.a"].dtype == torch.float16
    assert found["tower.a"].tolist() == [1.0, 2.5]
    assert found["tower.n"].item() == 4
    exact = retrieval_checkpoint.tensors(before, after, half=False)
    assert sorted(exact) == ["tower.a", "tower.b", "tower.n"]
    assert exact["tower.b"].dtype == torch.float32
    for value in (float("nan"), 1e6):  # 65504 is the largest float16
        with pytest.raises(CheckpointError, match="a holds values that are no finite numbers"):
            retrieval_checkpoint.tensors(before, {"a": torch.tensor([value, 1.0])})


def test_figures_are_put_in_later(tmp_path: Path) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    assert "\nNot measured yet.\n" in (folder / "README.md").read_text()
    before = identity(folder)
    retrieval_checkpoint.record(folder, [ROW])
    retrieval_checkpoint.record(folder, [ROW])
    assert read_config(folder)["measured"] == [ROW]
    assert identity(folder) == before
    text = (folder / "README.md").read_text()
    assert text.count("\n".join(TABLE)) == 1
    assert text.endswith("\nMade up.\n")
    assert "Not measured" not in text
    with pytest.raises(CheckpointError, match="of kind 'adapter', not 'retrieval'"):
        retrieval_checkpoint.record(TINY.with_name("tiny-quality"), [ROW])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"name": "tiny", "digest": "x"}}, r"lacks backbone\.replaced\."),
        ({"backbone": {"replaced": ["text"]}}, r"lacks backbone\.name, backbone\.digest\."),
        ({"backbone": {"name": "t", "digest": "x", "replaced": []}}, r"as backbone\.replaced"),
        ({"backbone": {"name": "t", "digest": "x", "replaced": ["ear"]}}, r"as backbone\.replaced"),
        ({"measured": {"n": 3}}, "expected as measured"),
        ({"measured": ["good"]}, "expected as measured"),
        ({"tasks": {"age": {"prompt": "x"}}}, "expected as tasks"),
    ],
)
def test_wrong_configs_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = search_checkpoint(tmp_path / "mine", (TEXT,))
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_config(folder)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    folder = search_checkpoint(tmp_path / "mine")
    facts = read_config(folder)["backbone"]
    edit(folder, backbone={**facts, "replaced": ["text"]})
    with pytest.raises(CheckpointError, match=r"towers: image, text; its config\.json says: text"):
        load_overrides(folder)
    edit(folder, backbone=facts)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    for load in (load_overrides, load_logit_scale):
        with pytest.raises(CheckpointError, match="sha256 differs"):
            load(folder)
    config = {**read_config(folder), "backbone": {**facts, "replaced": ["text"]}}
    broken = {f"tower.{TEXT}": torch.full((2, 2), torch.nan), f"tower.{SCALE}": torch.tensor(1e9)}
    save_checkpoint(folder, config, broken, "")
    with pytest.raises(CheckpointError, match="no finite numbers, in tower"):
        load_overrides(folder)
    with pytest.raises(CheckpointError, match="no logit_scale that can be used"):
        load_logit_scale(folder)
