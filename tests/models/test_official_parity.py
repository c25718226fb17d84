"""Parity end to end: an official file, imported by the command line on a stock OpenCLIP backbone,
from pictures and prompts to scores, losses and gradients.

What the authors' recipe trained is disturbed in the stock backbone, so that it can only come from
the file. `test_adapter_parity.py` has the adapter alone, and the slow forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from official_files import ABSENT, HEAD_CONV, PARITY, ParityFiles
from PIL import Image
from safetensors.torch import load_file
from test_adapter_parity import check_encoder, slow_attention
from torch import Tensor

from imgrank.cli import cli
from imgrank.cli.models_import import import_group
from imgrank.models import towers
from imgrank.models.adapter import Adapter, load_adapter
from imgrank.models.backbone import Backbone
from imgrank.models.checkpoint import load_overrides, read_config
from imgrank.models.official import adapter_config, official_name
from imgrank.models.official_import import TRAINED_TEXT, check_names
from imgrank.models.spec import read_spec
from imgrank.rankers.source import BackboneSource
from imgrank.train import losses

pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason=ABSENT)
ATOL = 1e-5
SUFFIXES = ("", "_same")
TEMPLATE = "Rank the numbers of {}."
QUALITY = "sort images by the image quality of MOS."


class Case(ParityFiles):
    """One variant, imported."""

    def __init__(self, variant: str, root: Path) -> None:
        super().__init__(variant, root)
        self.variant = variant
        tasks = (f"count={TEMPLATE}", f"quality={QUALITY},unit=MOS,range=0:100")
        heads = str(self.config["post_fuse_heads"])
        self.said = CliRunner().invoke(
            import_group,
            ["official-adapter", str(self.file), "--name", "theirs", "--into", str(root)]
            + ["--backbone", str(self.backbone), "--encoder-heads", heads]
            + [argument for task in tasks for argument in ("--task", task)],
            catch_exceptions=False,
        )
        self.folder = root / "theirs"
        self.adapter = load_adapter(self.folder)
        self.towers = Backbone(self.backbone, None, load_overrides(self.folder))

    def prompts(self, suffix: str) -> list[str]:
        prompts: list[str] = self.config["prompts"]
        return [prompts[0]] * len(prompts) if suffix else prompts

    def grid(self) -> Tensor:
        return towers.image_features(self.towers.visual, self.expected["image"])["grid"]

    def text(self, suffix: str) -> Tensor:
        return towers.text_tokens(self.towers.text, self.towers.tokenize(self.prompts(suffix)))

    def encode(self, suffix: str) -> Tensor:
        return self.adapter.encode({"grid": self.grid()}, self.text(suffix))

    def loss(self) -> Tensor:
        """`regression+rank` on target t0."""
        z, y = self.encode("_same"), self.expected["target_t0"]
        rank = losses.rank_bce(self.adapter.pair_logits(z), y)
        return rank + losses.ALPHA * losses.reg_log_smooth_l1(self.adapter.scores(z), y)


@pytest.fixture(scope="module", params=["main", "vit"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    root = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGRANK_HOME", str(root / "home"))
        yield Case(request.param, root)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=ATOL, rtol=0)


def test_parity_of_the_import(case: Case) -> None:
    """The untouched backbone is recognised and not copied; what is kept has the file's values."""
    config = read_config(case.folder, "adapter")
    kept = load_file(case.folder / "model.safetensors")
    tower = {n.removeprefix("tower."): t for n, t in kept.items() if n.startswith("tower.")}
    assert tuple(sorted(tower)) == TRAINED_TEXT
    for name, tensor in tower.items():
        assert torch.equal(tensor, case.official[name])
    assert config["backbone"]["replaced"] == ["text"]
    assert config["backbone"]["views"] == ["squash-bilinear"]
    own = sum(
        t.numel() for n, t in case.official.items() if n.startswith(("adapter.", *TRAINED_TEXT))
    )
    moved = {"main": (*HEAD_CONV, "visual.trunk.head.norm.weight", "visual.trunk.head.norm.bias")}
    own += sum(case.official[name].numel() for name in moved.get(case.variant, ("visual.proj",)))
    assert sum(tensor.numel() for tensor in kept.values()) == own
    assert (case.folder / "model.safetensors").stat().st_size < 4 * own + 40_000  # names, shapes
    same = len(case.official) - len(kept)
    assert f"{same} tensors are those of stock and were not copied" in case.said.stderr
    assert "more differ" not in case.said.stderr


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parity_of_the_tokenizer(case: Case, suffix: str) -> None:
    assert torch.equal(
        case.towers.tokenize(case.prompts(suffix)), case.expected["bpe_ids" + suffix]
    )


@torch.no_grad()
def test_parity_of_the_image_tower(case: Case) -> None:
    tokens = case.adapter.join_images({"grid": case.grid()})
    close(tokens, case.expected["image_tokens"])
    raw = case.expected["image_features_raw"]
    close(tokens, raw if raw.ndim == 3 else raw.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("suffix", SUFFIXES)
@torch.no_grad()
def test_parity_of_the_text_tower(case: Case, suffix: str) -> None:
    close(case.text(suffix), case.expected["text_tokens" + suffix])
    model: Any = case.towers.text
    pooled = model.encode_text(case.towers.tokenize(case.prompts(suffix)))
    close(pooled, case.expected["text_pooled" + suffix])


@pytest.mark.parametrize("suffix", SUFFIXES)
@torch.no_grad()
def test_parity_of_the_encoder_end_to_end(case: Case, suffix: str) -> None:
    check_encoder(case, suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
@torch.no_grad()
def test_parity_of_the_heads_end_to_end(case: Case, suffix: str) -> None:
    z = case.encode(suffix)
    close(case.adapter.scores(z)[:, None], case.expected["adapter_logits" + suffix])
    logits = case.adapter.pair_logits(z).reshape(-1, 1)
    close(logits, case.expected["adapter_paired_logits" + suffix])
    weights, differences = slow_attention(case.adapter, z)
    close(differences, case.expected["pair_token_diffs" + suffix])
    if not suffix:
        close(weights, case.expected["rank_attention"])


@pytest.mark.parametrize("target", ["t0", "t1", "t2", "t3"])
@torch.no_grad()
def test_parity_of_the_losses_end_to_end(case: Case, target: str) -> None:
    z, y = case.encode("_same"), case.expected[f"target_{target}"]
    s = case.adapter.scores(z)
    rank = {
        "dual": losses.rank_bce(case.adapter.pair_logits(z), y),
        "single": losses.rank_bce_single(s, y),
    }
    parts = {"regression": losses.ALPHA * losses.reg_log_smooth_l1(s, y), "bce": losses.bce(s, y)}
    for kind, of_pairs in rank.items():
        for name, components in case.config["loss_components"].items():
            total = sum({**parts, "rank": of_pairs}[component] for component in components)
            close(total, case.expected[f"loss|{kind}|{name}|{target}"])


def test_parity_of_the_gradients_end_to_end(case: Case) -> None:
    """Of every parameter that the authors' recipe trains, the towers' own included."""
    parameters = _official_parameters(case)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
        parameter.grad = None
    case.loss().backward()
    checked = 0
    for name, facts in case.gradients.items():
        grad = parameters[name].grad if name in parameters else None
        if facts["grad_l2"] is not None:
            assert grad is not None, name
            assert abs(float(grad.norm()) - facts["grad_l2"]) < ATOL, name
            checked += 1
        elif facts["requires_grad"]:  # trainable, but on no way to the loss
            assert grad is None or not grad.any(), name
    assert checked == sum(facts["grad_l2"] is not None for facts in case.gradients.values()) > 50
    exact = {name for name in case.expected if name.startswith("grad|")}
    for name in exact:
        close(_as_official(name[5:], parameters[name[5:]].grad), _rows(case, name))
    assert len(exact) >= 4
    for tower in (case.towers.visual, case.towers.text):
        tower.requires_grad_(False)


def _official_parameters(case: Case) -> dict[str, torch.nn.Parameter]:
    """Parameters of the imported model under their official names."""
    vit = case.variant == "vit"
    found = {official_name(n, vit): p for n, p in case.adapter.named_parameters()}
    for name, parameter in case.towers.text.named_parameters():
        found.setdefault(name, parameter)
    for name, parameter in case.towers.visual.named_parameters():
        found.setdefault(f"visual.{name}", parameter)
    return found


def _as_official(name: str, grad: Tensor | None) -> Tensor:
    assert grad is not None
    if name == "visual.proj":
        return grad.T
    return grad[..., None, None] if name == "visual.trunk.head.fc.weight" else grad


def _rows(case: Case, name: str) -> Tensor:
    """An expected gradient; of the token embedding, in the real vocabulary."""
    expected = case.expected[name]
    if name != "grad|token_embedding.weight":
        return expected
    rows = case.expected["vocab_row_to_bpe"]
    table = torch.zeros(case.official["token_embedding.weight"].shape)
    table[rows[rows >= 0]] = expected[rows >= 0]
    return table


def test_parity_of_the_preprocessing(tmp_path: Path, case: Case) -> None:
    """Exact: squashed bilinearly to score, bicubically to train."""
    data = load_file(PARITY / "preprocess.safetensors")
    Image.fromarray(data["image_uint8_hwc"].numpy()).save(tmp_path / "picture.png")
    picture = (tmp_path / "picture.png").read_bytes()
    backbone = Backbone(case.backbone)
    spec = backbone.spec = replace(backbone.spec, image_size=32)  # of the data

    def tensor(view: Any, flip: bool = False) -> Tensor:
        pixels = BackboneSource(spec, "cpu", view).prepare(picture)
        if flip:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        return backbone.normalise(pixels[None])[0]

    assert torch.equal(tensor("squash-bilinear"), data["inference_bilinear"])
    assert torch.equal(tensor("squash"), data["train_bicubic_noflip"])
    assert torch.equal(tensor("squash", flip=True), data["train_bicubic_flip"])


@pytest.mark.parametrize(
    ("wish", "prompt"),
    [("by image quality", QUALITY), ("by the number of traffic light", TEMPLATE)],
)
def test_parity_of_the_command_line(case: Case, home: Path, wish: str, prompt: str) -> None:
    """`sort` by the imported checkpoint gives what the verified modules give for the same pixels;
    only that kept features are float16, as everywhere."""
    models = home / "data" / "models"
    models.mkdir(parents=True)
    (models / "theirs").symlink_to(case.folder)
    (models / "another-name").symlink_to(case.backbone)  # found by its digest
    photos = Path(__file__).parents[2] / "examples" / "photos"
    files = sorted(photos.glob("*.jpg"))[:3]  # too few for a trial of other precisions
    options = ["--model", "theirs", "--format", "json"]
    result = CliRunner().invoke(
        cli, ["sort", *map(str, files), wish, *options], catch_exceptions=False
    )
    said = json.loads(result.stdout)
    rows = {Path(row["path"]).name: row["score"] for row in said["images"]}
    prompt = prompt.format("traffic light")
    assert [(c["method"], c["prompt"]) for c in said["criteria"]] == [("adapter", prompt)]

    source = BackboneSource(read_spec(case.backbone), "cpu", "squash-bilinear")
    pixels = np.stack([source.prepare(file.read_bytes()) for file in files])
    with torch.inference_mode():
        x = case.towers.normalise(pixels)
        grid = towers.image_features(case.towers.visual, x)["grid"]
        text = case.towers.text_tokens([prompt])[0]
        scores = case.adapter.scores(case.adapter.encode({"grid": grid.half().float()}, text))
        exact = case.adapter.scores(case.adapter.encode({"grid": grid}, text))
    for i, file in enumerate(files):
        assert rows[file.name] == pytest.approx(scores[i].item(), abs=ATOL)
        assert rows[file.name] == pytest.approx(exact[i].item(), abs=1e-3)
    assert list(rows) == [files[i].name for i in scores.argsort(descending=True).tolist()]


def test_parity_of_the_released_names() -> None:
    """All 661 tensors of a released file find their place on stock `convnext_large_d_320`."""
    listed = json.loads((PARITY / "full_param_names.json").read_text())
    shapes = {name: tuple(facts["shape"]) for name, facts in listed["parameters"].items()}
    with torch.device("meta"):
        model = open_clip.create_model("convnext_large_d_320", load_weights=False, device="meta")
        stock = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    config = adapter_config(shapes)
    towers_ = check_names(shapes, stock, config)
    assert len(shapes) == listed["n_tensors"] == 661
    own = [name for name in shapes if name not in towers_]
    assert [n for n in own if not n.startswith("adapter.")] == [
        f"visual.trunk.head.{name}" for name in ("norm.weight", "norm.bias", "fc.weight", "fc.bias")
    ]
    assert stock.keys() - set(towers_) - set(own) == {
        "visual.head.mlp.fc1.weight",
        "visual.head.mlp.fc1.bias",
        "visual.head.mlp.fc2.weight",
    }
    assert (config.width, config.image_widths, config.grid_projection) == (
        768,
        {"grid": 1536},
        "norm+linear",
    )
    with torch.device("meta"):
        Adapter(config)
    norm: Any = model.visual.trunk.head.norm
    assert norm.eps == config.grid_norm_eps
