"""LAION's aesthetic head: five layers folded into one vector, and sorting by it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imgrank.cli import cli
from imgrank.errors import CheckpointError, ImgrankError, UsageError
from imgrank.instruction import parse
from imgrank.models.checkpoint import read_config
from imgrank.models.linear import LAYOUT, convert_head, fold
from imgrank.models.registry import EMBEDDED
from imgrank.rankers.load import load_ranker, route
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
EMBED = 384  # of `tiny`


def head(embed: int = EMBED, seed: int = 0) -> dict[str, Tensor]:
    """A published head's tensors, random, in its five layers."""
    torch.manual_seed(seed)
    widths = (embed, 64, 32, 16, 8, 1)
    chain = [nn.Linear(a, b) for a, b in pairwise(widths)]
    return {
        f"layers.{number}.{name}": tensor.detach()
        for number, layer in zip(LAYOUT, chain, strict=True)
        for name, tensor in layer.named_parameters()
    }


def chain(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """What the five layers give, one after the other, in float64."""
    for n in LAYOUT:
        x = x @ tensors[f"layers.{n}.weight"].double().T + tensors[f"layers.{n}.bias"].double()
    return x[:, 0]


def renumbered(numbers: tuple[int, ...]) -> dict[str, Tensor]:
    names = dict(zip(map(str, LAYOUT), map(str, numbers), strict=True))
    return {
        ".".join([start, names[number], end]): tensor
        for (start, number, end), tensor in ((n.split("."), t) for n, t in head().items())
    }


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, list(arguments))
    if isinstance(result.exception, ImgrankError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def imported(tmp_path: Path) -> Path:
    """The model `head` on `tiny`."""
    torch.save(head(), tmp_path / "head.pth")
    run("models", "import", "aesthetic-head", str(tmp_path / "head.pth"), "--backbone", "tiny")
    return load_settings().models_dir / "head"


def test_the_vector_is_the_chain() -> None:
    tensors = head()
    weight, bias = fold(tensors)
    x = torch.randn(50, EMBED, dtype=torch.float64)
    assert weight.dtype == bias.dtype == torch.float64
    torch.testing.assert_close(x @ weight + bias, chain(tensors, x), atol=1e-14, rtol=0)
    prefixed = {f"model.{name}": tensor for name, tensor in tensors.items()}
    assert torch.equal(fold(prefixed)[0], weight)


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_the_folder(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"head.{form}"
    if form == "pth":
        torch.save({"state_dict": head()}, file)
    else:
        save_file(head(), file)
    convert_head(
        file,
        tmp_path / "laion",
        backbone_folder=EMBEDDED / "tiny",
        name="laion",
        licence="apache-2.0",
        origin="hf:someone/heads",
    )
    kept = load_file(tmp_path / "laion" / "model.safetensors")
    weight, bias = fold(head())
    assert {name: tuple(tensor.shape) for name, tensor in kept.items()} == {
        "weight": (EMBED,),
        "bias": (1,),
    }
    assert torch.equal(kept["weight"], weight.float())
    assert torch.equal(kept["bias"], bias.float())
    config = read_config(tmp_path / "laion", "linear")
    assert (config["licence"], config["origin"]) == ("apache-2.0", "hf:someone/heads")
    assert config["tasks"] == {
        "aesthetics": {"unit": "MOS", "range": [1, 10], "order": "descending"}
    }
    assert config["backbone"]["views"] == ["own"]
    card = (tmp_path / "laion" / "README.md").read_text()
    assert "license: apache-2.0" in card.splitlines()
    assert "aesthetics: unit MOS, range 1 to 10" in card


def test_sort_by_it(tmp_path: Path) -> None:
    imported(tmp_path)
    result = run(
        "sort", str(PHOTOS), "by aesthetics", "--model", "head", "--format", "json", "--top", "5"
    )
    said = json.loads(result.stdout)
    (criterion,) = said["criteria"]
    assert (criterion["method"], criterion["model"]) == ("linear", "head")
    assert (criterion["unit"], criterion["range"]) == ("MOS", [1.0, 10.0])
    source = load_ranker("head").source
    for row in said["images"]:
        (features,) = source.compute([source.prepare(Path(row["path"]).read_bytes())])
        x = torch.from_numpy(features["pooled"].astype(np.float64))[None]
        assert row["score"] == pytest.approx(chain(head(), x).item(), abs=1e-5)
    scores = [row["score"] for row in said["images"]]
    assert scores == sorted(scores, reverse=True)


def test_it_answers_its_task_alone(tmp_path: Path) -> None:
    imported(tmp_path)
    job = route(parse("least beautiful first"), load_settings(), "head")
    assert (job.answer.label, job.answer.prompt) == ("linear head", "aesthetics")
    with pytest.raises(UsageError, match="it knows aesthetics"):
        route(parse("by image quality"), load_settings(), "head")


def test_scores_of_known_features_need_no_torch(tmp_path: Path) -> None:
    imported(tmp_path)
    code = (
        "import sys, numpy as np\n"
        "from imgrank.instruction import parse\n"
        "from imgrank.rankers.load import load_ranker\n"
        f"x = {{'pooled': np.full({EMBED}, {EMBED}**-0.5, np.float16)}}\n"
        "print(load_ranker('head').score([x], [parse('by aesthetics')])[0][0].value)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    x = torch.full((1, EMBED), float(np.float16(EMBED**-0.5)), dtype=torch.float64)
    assert float(done.stdout) == pytest.approx(chain(head(), x).item(), abs=1e-5)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    folder = imported(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["backbone"]["digest"] = "sha256:" + "0" * 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="no backbone here has its digest"):
        load_ranker("head")


@pytest.mark.parametrize(
    ("tensors", "name", "message"),
    [
        (renumbered((0, 3, 6, 9, 11)), "head.pth", "numbered 0, 3, 6, 9, 11, not 0, 2, 4, 6, 7"),
        (head(), "ava-l14-reluMSE.pth", "ReLU between its layers, by its name"),
        (head(EMBED // 2), "head.pth", "embeddings of 192 numbers; those of tiny have 384"),
        ({**head(), "other": torch.zeros(2)}, "head.pth", "it holds 'other'"),
        ({**head(), "layers.2.weight": torch.zeros(3, 3)}, "head.pth", "follow each other"),
        ({k: v for k, v in head().items() if k != "layers.4.bias"}, "head.pth", "incomplete"),
        (
            {**head(), "layers.7.weight": torch.zeros(2, 8), "layers.7.bias": torch.zeros(2)},
            "head.pth",
            "gives 2 numbers",
        ),
    ],
)
def test_what_is_no_such_head(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, message: str
) -> None:
    torch.save(tensors, tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        run("models", "import", "aesthetic-head", str(tmp_path / name), "--backbone", "tiny")
    assert not any(load_settings().models_dir.iterdir())


def test_damaged_tensors_are_named(tmp_path: Path) -> None:
    folder = imported(tmp_path)
    save_file({"weight": torch.zeros(2, 2), "bias": torch.zeros(1)}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.safetensors").read_bytes()
    config["weights"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    x = {"pooled": np.zeros(EMBED, np.float16)}
    with pytest.raises(CheckpointError, match=r"no weight \[E\]"):
        load_ranker("head").score([x], [parse("by aesthetics")])


def test_a_head_of_another_width_is_said(tmp_path: Path) -> None:
    """A backbone without a record does not tell its width when the head is imported."""
    imported(tmp_path)
    x = {"pooled": np.zeros(EMBED + 1, np.float16)}
    with pytest.raises(CheckpointError, match="embeddings of 384 numbers; those of tiny have 385"):
        load_ranker("head").score([x], [parse("by aesthetics")])
