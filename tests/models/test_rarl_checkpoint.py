"""Checkpoints of kind "rarl": what peft trained in two stages, as one LoRA, without peft."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from imgrank.errors import CheckpointError, UsageError
from imgrank.listwise.prompt import Rule, messages
from imgrank.models.checkpoint import read_config, save_checkpoint
from imgrank.models.origin import Origin, write_origin
from imgrank.models.rarl_checkpoint import (
    card,
    facts,
    from_peft,
    full_tensors,
    load_factors,
    merge_into,
    rank_of,
    side_by_side,
)
from imgrank.models.vlm import VisionLanguage
from imgrank.models.vlm_export import export_merged
from imgrank.models.vlm_inputs import Conversation
from imgrank.models.vlm_spec import is_vlm, read_vlm

CPU = torch.device("cpu")
RULE = Rule("the person's age", 0, 100)
ROWS: list[Conversation] = [
    (messages(RULE, 2), [Image.new("RGB", (56, 56), colour) for colour in ("red", "blue")]),
    (messages(RULE, 1), [Image.new("RGB", (56, 56), "gold")]),
]
TASKS = {
    "age": {
        **{"prompt": "the person's age", "unit": "years", "range": [0, 100]},
        **{"order": "descending", "measured": []},
    }
}
MODULE = "model.language_model.layers.1.mlp.up_proj"
OTHER = "model.language_model.layers.0.mlp.up_proj"
ONLY = r".*\blanguage_model\..*\.(q_proj|up_proj)"


def logits(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**inputs, logits_to_keep=3).logits
    return found


def stage(model: Any, seed: int, rank: int, alpha: int) -> tuple[Any, dict[str, Tensor]]:
    """A model with random LoRA factors of a stage merged by peft, and these as they are stored."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules=ONLY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by old names
        wrapped = get_peft_model(model, lora)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw))
    state = get_peft_model_state_dict(wrapped)
    return wrapped.merge_and_unload(), from_peft(state, alpha / rank)


def written(folder: Path, base: Path, tensors: Mapping[str, Tensor], **changed: object) -> Path:
    known = facts(
        read_vlm(base),
        tensors,
        name="age",
        licence="apache-2.0",
        made_by="imgrank train rarl",
        max_pixels=2 * 28 * 28,
        max_new_tokens=40,
        tasks=TASKS,
        training={"method": "rarl"},
    )
    known |= changed
    save_checkpoint(folder, known, tensors, card(known, "Made up.", ["by a test"]))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_vlm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint of two stages, and the model as peft merges one after another."""
    model = VisionLanguage(tiny_vlm_folder, CPU).model
    model, first = stage(model, 1, rank=4, alpha=8)
    model, second = stage(model, 2, rank=2, alpha=3)
    tensors = side_by_side(first, second)
    return written(tmp_path_factory.mktemp("rarl") / "age", tiny_vlm_folder, tensors), model


def test_two_stages_are_one_lora_that_gives_what_peft_gives(
    trained: tuple[Path, Any], tiny_vlm_folder: Path
) -> None:
    folder, model = trained
    plain = VisionLanguage(tiny_vlm_folder, CPU)
    vlm = VisionLanguage(tiny_vlm_folder, CPU, checkpoint=folder)
    inputs = vlm.inputs(ROWS)

    wanted = logits(model, inputs)
    torch.testing.assert_close(logits(vlm.model, inputs), wanted, atol=1e-5, rtol=1e-5)
    assert float((logits(plain.model, inputs) - wanted).abs().max()) > 0.1
    answers = vlm.generate(inputs, 12)
    vlm.model = model
    assert torch.equal(vlm.generate(inputs, 12), answers)
    assert (vlm.max_pixels, vlm.max_new_tokens) == (2 * 28 * 28, 40)
    assert VisionLanguage(tiny_vlm_folder, CPU, checkpoint=folder, max_pixels=784).max_pixels == 784


def test_its_config_is_a_checkpoints(trained: tuple[Path, Any], tiny_vlm_folder: Path) -> None:
    config = read_config(trained[0], "rarl")
    assert config["model"] == {
        "lora": {"rank": 6, "alpha": 6, "targets": ["q_proj", "up_proj"]},
        "max_pixels": 1568,
        "max_new_tokens": 40,
    }
    assert config["backbone"] == {
        "name": "tiny-vlm",
        "digest": f"sha256:{read_vlm(tiny_vlm_folder).identity}",
    }
    found = load_factors(trained[0])
    assert rank_of(found) == 6
    assert found[f"lora.{MODULE}.A"].shape == (6, 32)
    assert found[f"lora.{MODULE}.B"].shape == (64, 6)
    text = (trained[0] / "README.md").read_text()
    assert "a LoRA of rank 6" in text
    assert '- age: "the person\'s age", in years, 0 to 100' in text
    assert 'imgrank sort PHOTOS "by age" --model rarl:age' in text


def test_the_revision_of_a_pulled_model_is_recorded(tiny_vlm_folder: Path, tmp_path: Path) -> None:
    backbone = Path(shutil.copytree(tiny_vlm_folder, tmp_path / "pulled"))
    write_origin(backbone, Origin("hf:Owner/Model", "Owner/Model", "0" * 40, "main", {}))
    folder = written(tmp_path / "age", backbone, factors())
    assert read_config(folder)["backbone"]["origin"] == f"hf:Owner/Model@{'0' * 40}"
    assert "base_model: Owner/Model" in (folder / "README.md").read_text()


def factors(module: str = MODULE, **changed: Tensor) -> dict[str, Tensor]:
    own = {"A": torch.full((2, 32), 0.1), "B": torch.full((64, 2), 0.1), **changed}
    return {f"lora.{module}.{name}": value for name, value in own.items()}


def test_stages_may_have_other_modules() -> None:
    first = {"lora.a.A": torch.ones(1, 3), "lora.a.B": torch.ones(2, 1)}
    second = {"lora.b.A": torch.ones(2, 3), "lora.b.B": torch.ones(2, 2)}
    both = side_by_side(first, second, first)
    assert {name: tuple(value.shape) for name, value in both.items()} == {
        **{"lora.a.A": (2, 3), "lora.a.B": (2, 2)},
        **{"lora.b.A": (2, 3), "lora.b.B": (2, 2)},
    }
    assert side_by_side({}, first).keys() == first.keys()
    with pytest.raises(ValueError, match=r"full\.x is no factor"):
        side_by_side(first, {"full.x": torch.ones(1)})
    with pytest.raises(ValueError, match="lora_embedding_A is no factor"):
        from_peft({"base_model.model.a.lora_embedding_A": torch.ones(1, 1)}, 1)


def test_all_weights_stand_in_for_the_models_own(tiny_vlm_folder: Path, tmp_path: Path) -> None:
    model = VisionLanguage(tiny_vlm_folder, CPU).model
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "visual" not in name:
                weight.mul_(1.5)
    learnt = {n: w for n, w in model.named_parameters() if "visual" not in n}
    folder = written(tmp_path / "age", tiny_vlm_folder, full_tensors(learnt))

    assert read_config(folder)["model"]["lora"] is None
    assert "all weights that were tuned" in (folder / "README.md").read_text()
    vlm = VisionLanguage(tiny_vlm_folder, CPU, checkpoint=folder)
    inputs = vlm.inputs(ROWS)
    assert torch.equal(logits(vlm.model, inputs), logits(model, inputs))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {"lora.model.nowhere.A": torch.ones(1, 1), "lora.model.nowhere.B": torch.ones(1, 1)},
            "has no model.nowhere of",
        ),
        (factors(A=torch.ones(2, 31)), "has no model.language_model.layers.1.mlp.up_proj of"),
        (factors(B=torch.ones(64, 3)), "up_proj of that shape"),
        (factors(B=torch.ones(64)), "up_proj of that shape"),
        ({f"lora.{MODULE}.A": torch.ones(2, 32)}, "up_proj of that shape"),
        ({f"lora.{MODULE}.B": torch.ones(64, 2)}, "up_proj"),
        ({"full.model.nowhere": torch.ones(1)}, "has no model.nowhere of"),
        ({"full.lm_head.weight": torch.ones(1)}, "has no lm_head.weight of"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(
    tiny_vlm_folder: Path, tensors: dict[str, Tensor], said: str
) -> None:
    model = VisionLanguage(tiny_vlm_folder, CPU).model
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=said):
        merge_into(model, {**factors(OTHER), **tensors})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_checkpoint_of_this_model_is_refused(
    tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    def load(tensors: Mapping[str, Tensor], **changed: object) -> None:
        folder = written(tmp_path / "age", tiny_vlm_folder, tensors, **changed)
        VisionLanguage(tiny_vlm_folder, CPU, checkpoint=folder)

    load(factors())
    with pytest.raises(CheckpointError, match="rests on the model 'other'"):
        load(factors(), backbone={"name": "other", "digest": "sha256:" + "0" * 64})
    with pytest.raises(CheckpointError, match="no finite numbers, in lora"):
        load(factors(A=torch.full((2, 32), float("nan"))))
    with pytest.raises(CheckpointError, match="belongs to no checkpoint of this kind"):
        load({**factors(), "head.weight": torch.ones(1)})
    sizes = {"max_pixels": 784, "max_new_tokens": 9}
    with pytest.raises(CheckpointError, match="says of its weights that they are full"):
        load(factors(), model={"lora": None, **sizes})
    lora = {"rank": 2, "alpha": 2, "targets": ["up_proj"]}
    with pytest.raises(CheckpointError, match="says of its weights that they are a LoRA"):
        load({"full.model.norm.weight": torch.ones(32)}, model={"lora": lora, **sizes})


def test_the_merged_folder_is_a_model_of_its_own(
    trained: tuple[Path, Any], tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    folder, model = trained
    spec = export_merged(folder, tiny_vlm_folder, tmp_path / "merged", shard="60KB")

    assert is_vlm(spec.folder)
    assert len(spec.weights) > 1
    assert spec.parameters == read_vlm(tiny_vlm_folder).parameters
    assert spec.identity != read_vlm(tiny_vlm_folder).identity
    vlm = VisionLanguage(spec.folder, CPU)
    inputs = vlm.inputs(ROWS)
    torch.testing.assert_close(
        logits(vlm.model, inputs), logits(model, inputs), atol=1e-5, rtol=1e-5
    )
    for name in ("generation_config.json", "chat_template.jinja", "tokenizer.json"):
        assert (spec.folder / name).read_bytes() == (tiny_vlm_folder / name).read_bytes()
    assert json.loads((spec.folder / "config.json").read_text())["dtype"] == "float32"
    text = (spec.folder / "README.md").read_text()
    assert "library_name: transformers" in text
    assert "license: apache-2.0" in text
    assert "Qwen2.5-VL `tiny-vlm` with the checkpoint `age`" in text
    assert "- age: `Analyze each image to determine the person's age, and" in text
    modes = {path.stat().st_mode for path in spec.folder.iterdir()}
    assert len(modes) == 1, "others may read all of it or nothing"
    with pytest.raises(UsageError, match="overwrites nothing"):
        export_merged(folder, tiny_vlm_folder, tmp_path / "merged")
