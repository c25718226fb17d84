"""`models import official-adapter`: what is kept, what is refused, what is said. Random files;
`test_official_parity.py` has the authors' numbers."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from official_files import SMALL_ADAPTER, disturbed, random_official, wrapped
from safetensors.torch import load_file, save_file
from torch import Tensor

from imgrank.cli import cli
from imgrank.errors import CheckpointError, ImgrankError, UsageError
from imgrank.instruction import parse
from imgrank.models.adapter import AdapterConfig, load_adapter
from imgrank.models.checkpoint import load_overrides, read_config
from imgrank.models.official import adapter_name, adapter_tensors, official_name
from imgrank.models.official_import import TRAINED_TEXT
from imgrank.models.spec import read_spec
from imgrank.rankers.load import load_ranker

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))[:3]
QUALITY = 'quality="sort images by the image quality of MOS.",unit=MOS,range=0:100'
MOVED = "visual.transformer.resblocks.0.mlp.c_fc.bias"


class Files:
    """A stock backbone's folder, an official state dict on it, and the file that holds it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backbone, self.official = random_official(root)

    def saved(self, name: str, content: Any) -> Path:
        torch.save(content, self.root / name)
        return self.root / name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    root = tmp_path_factory.mktemp("official")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGRANK_HOME", str(root / "home"))
        return Files(root)


def run(file: Path, files: Files, *options: str, name: str = "theirs") -> Result:
    task = [] if "--task" in options else ["--task", QUALITY]
    command = ["models", "import", "official-adapter", str(file), "--name", name, *task]
    command += ["--backbone", str(files.backbone), *options]
    result = CliRunner().invoke(cli, command)
    if isinstance(result.exception, ImgrankError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def imported(home: Path, name: str = "theirs") -> Path:
    return home / "data" / "models" / name


def own(files: Files) -> dict[str, Tensor]:
    """What a checkpoint must hold: the adapter under our names, the trained text side."""
    tower = {f"tower.{name}": files.official[name] for name in TRAINED_TEXT}
    return {**adapter_tensors(files.official), **tower}


def assert_holds(folder: Path, expected: dict[str, Tensor]) -> None:
    kept = load_file(folder / "model.safetensors")
    assert kept.keys() == expected.keys()
    for name, tensor in expected.items():
        assert kept[name].dtype == torch.float32
        assert torch.equal(kept[name], tensor), name


@pytest.mark.parametrize("form", ["module.", "bare", "safetensors"])
def test_only_what_is_the_files_own_is_kept(files: Files, home: Path, form: str) -> None:
    if form == "safetensors":
        file = files.root / "official.safetensors"
        save_file(files.official, file)
    else:
        content = wrapped(files.official) if form == "module." else files.official
        file = files.saved(f"{form}pt", content)
    result = run(file, files)
    assert_holds(imported(home), own(files))
    assert result.stdout == f"{imported(home)}\n"
    same = len(files.official) - len(own(files))
    assert f"{same} tensors are those of stock and were not copied" in result.stderr
    assert "the file's own text side was kept: ln_final.bias" in result.stderr
    assert "differ" not in result.stderr
    assert "--model theirs" in result.stderr


def test_half_precision_is_no_difference(files: Files, home: Path) -> None:
    halves = {name: tensor.half() for name, tensor in files.official.items()}
    result = run(files.saved("half.pt", wrapped(halves)), files)
    assert_holds(imported(home), {n: t.half().float() for n, t in own(files).items()})
    assert "differ" not in result.stderr


def test_the_config_says_where_it_came_from(files: Files, home: Path) -> None:
    file = files.saved("official.pt", files.official)
    run(file, files, "--heads", "4", "--encoder-heads", "2", "--rank-heads", "1")
    config = read_config(imported(home), "adapter")
    assert config["origin"] == "imported"
    assert config["source"] == {
        "file": "official.pt",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
    }
    assert config["licence"] == "unknown; the authors' code is Apache-2.0"
    assert config["backbone"] == {
        "name": "stock",
        "digest": f"sha256:{read_spec(files.backbone).identity}",
        "views": ["squash-bilinear"],
        "tokens": ["grid"],
        "replaced": ["text"],
    }
    assert config["tasks"] == {
        "quality": {
            "prompt": "sort images by the image quality of MOS.",
            "unit": "MOS",
            "range": [0.0, 100.0],
            "order": "descending",
        }
    }
    model = AdapterConfig.from_dict(config["model"])
    assert (model.heads, model.encoder_heads, model.rank_heads) == (4, 2, 1)
    assert model.image_widths == SMALL_ADAPTER.image_widths
    assert model.grid_projection == "linear"
    card = (imported(home) / "README.md").read_text()
    assert "license: other" in card.splitlines()
    assert config["source"]["sha256"] in card
    assert "unit MOS, range 0 to 100" in card


def test_a_changed_image_tower_is_kept_said_and_used(files: Files, home: Path) -> None:
    official = disturbed(files.official, (MOVED,))
    result = run(files.saved("moved.pt", official), files)
    assert_holds(imported(home), {**own(files), f"tower.{MOVED}": official[MOVED]})
    assert "1 more differ from stock's" in result.stderr
    assert f"kept too: {MOVED}" in result.stderr
    run(files.saved("still.pt", files.official), files, name="still")
    (home / "data" / "models" / "stock").symlink_to(files.backbone)
    moved, still = load_ranker("theirs").source, load_ranker("still").source
    assert moved.identity.startswith(still.identity)
    assert moved.identity != still.identity  # its pictures' features are its own
    picture = still.prepare(PHOTOS[0].read_bytes())
    assert not (moved.compute([picture])[0]["grid"] == still.compute([picture])[0]["grid"]).all()


def test_sort_asks_with_the_subject(files: Files, home: Path) -> None:
    """The text side comes from the file: tokens are those of the tower with its tensors."""
    file = files.saved("official.pt", files.official)
    run(file, files, "--task", "count=Rank the numbers of {}.", "--task", QUALITY)
    (home / "data" / "models" / "stock").symlink_to(files.backbone)
    command = ["sort", *map(str, PHOTOS), "by the number of cats", "--model", "theirs"]
    result = CliRunner().invoke(cli, [*command, "--format", "json"], catch_exceptions=False)
    (criterion,) = json.loads(result.stdout)["criteria"]
    assert criterion["prompt"] == "Rank the numbers of cats."
    assert criterion["unit"] == "objects"
    command[command.index("by the number of cats")] = "closest to 0.3 cats"
    result = CliRunner().invoke(cli, [*command, "--format", "json"], catch_exceptions=False)
    near = [abs(row["score"] - 0.3) for row in json.loads(result.stdout)["images"]]
    assert len(near) == 3
    assert near == sorted(near)
    ranker: Any = load_ranker("theirs")
    dogs, cats = (ranker.answer(parse(f"by the number of {s}")) for s in ("dogs", "cats"))
    assert dogs.prompt == "Rank the numbers of dogs."  # kept apart by the store
    mine = ranker.source.text_tokens([cats.prompt])
    stock = load_ranker("stock").source.text_tokens([cats.prompt])  # type: ignore[attr-defined]
    assert abs(mine - stock).max() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter.reg_ln.weight": None}, "missing: adapter.reg_ln.weight"),
        (
            {"adapter.crossmodal_block.cross_attn.0.ln_1_kv.bias": None},
            "missing: adapter.crossmodal_block.cross_attn.0.ln_1_kv.bias",
        ),
        ({"visual.ln_pre.bias": None}, "missing: visual.ln_pre.bias"),
        ({"adapter.extra": (2,)}, "unknown: adapter.extra"),
        ({"head.weight": (2,), "ln_pre.weight": (2,)}, "unknown: head.weight, ln_pre.weight"),
        ({"ln_final.weight": (17,)}, "of another shape: ln_final.weight"),
        ({"adapter.reg_ln.bias": (17,)}, "of another shape: adapter.reg_ln.bias"),
        ({"adapter.reg_tokens": None}, "not a released ranking adapter: 'adapter.reg_tokens'"),
        ({"visual.trunk.head.fc.weight": (2,)}, "not a released ranking adapter: "),
    ],
)
def test_names_that_do_not_fit_are_listed(
    files: Files, home: Path, change: dict[str, Any], message: str
) -> None:
    official = dict(files.official)
    for name, shape in change.items():
        official.pop(name, None)
        if shape is not None:
            official[name] = torch.zeros(shape)
    with pytest.raises(CheckpointError) as caught:
        run(files.saved("odd.pt", official), files)
    assert message in str(caught.value)
    assert list((home / "data" / "models").iterdir()) == []  # nothing half done


@pytest.mark.parametrize("trunk", ["hf-hub:someone/something", "no_such_tower", 7])
def test_a_backbone_that_names_another_place(files: Files, tmp_path: Path, trunk: object) -> None:
    """Nothing is fetched: a socket would fail the test in another way."""
    folder = tmp_path / "other"
    shutil.copytree(files.backbone, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = trunk
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    file = files.saved("whole.pt", files.official)
    with pytest.raises(CheckpointError, match="timm cannot build the image tower"):
        run(file, files, "--backbone", str(folder))


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("BOOM",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "program": Bomb()}, "runs no code"),
        ({"state_dict": {"a": 1}}, "not tensors"),
        ([1, 2], "no mapping"),
    ],
)
def test_a_pickle_runs_nothing(files: Files, content: Any, message: str) -> None:
    file = files.saved("odd.pt", content)
    with pytest.raises(CheckpointError, match=message):
        run(file, files)


def test_a_damaged_file(files: Files) -> None:
    file = files.saved("cut.pt", files.official)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is damaged"):
        run(file, files)
    for content in (b"", pickle.dumps(3)[:-1], b"\x80\x02}"):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="is damaged"):
            run(file, files)
    (files.root / "cut.safetensors").write_bytes(b"12345678nothing")
    with pytest.raises(CheckpointError, match="is damaged"):
        run(files.root / "cut.safetensors", files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "taste=a"), "no task 'taste'"),
        (("--task", "count=cats"), "for what|what is counted"),
        (("--task", "quality={} of it"), "count and no other"),
        (("--task", "quality=a,range=5"), "LOW:HIGH"),
        (("--task", "quality=a,range=5:1"), "does not rise"),
        (("--task", "quality=a,range=0:inf"), "no end"),
        (("--task", "quality=a", "--task", "quality=b"), "quality is given twice"),
        (("--task", "="), "is expected"),
        (("--heads", "3"), "3 heads do not divide"),
        (("--rank-heads", "0"), "0 heads do not divide"),
        (("--backbone", "tiny-quality"), "no backbone"),
    ],
)
def test_options_that_cannot_be(files: Files, options: tuple[str, ...], message: str) -> None:
    file = files.saved("official.pt", files.official)
    with pytest.raises(UsageError, match=message):
        run(file, files, *options)


@pytest.mark.parametrize(
    ("wish", "prompt", "unit"),
    [
        ("quality", "sort images by the image quality of MOS", "MOS"),
        ("count", "sort images by the number of {}.", "objects"),
        ("age='the age, please',unit=group", "the age, please", "group"),
        ("decade=when,unit=", "when", ""),
        ("count=number of {subject}", "number of {}", "objects"),
    ],
)
def test_how_a_task_is_written(files: Files, home: Path, wish: str, prompt: str, unit: str) -> None:
    run(files.saved("official.pt", files.official), files, "--task", wish)
    (task,) = read_config(imported(home))["tasks"].values()
    assert (task["prompt"], task["unit"]) == (prompt, unit)
    assert "range" not in task


def test_nothing_is_overwritten(files: Files, home: Path, tmp_path: Path) -> None:
    file = files.saved("official.pt", files.official)
    run(file, files)
    with pytest.raises(UsageError, match="exists already"):
        run(file, files)
    for name, message in {"tiny": "package itself", "../x": "cannot be called"}.items():
        with pytest.raises(UsageError, match=message):
            run(file, files, name=name)
    run(file, files, "--into", str(tmp_path / "elsewhere"))
    assert load_overrides(tmp_path / "elsewhere" / "theirs").keys() == set(TRAINED_TEXT)
    load_adapter(tmp_path / "elsewhere" / "theirs")  # its tower tensors are not the adapter's


def test_prompts_are_shown() -> None:
    lines = CliRunner().invoke(cli, ["models", "import", "official-adapter", "--prompts"]).stdout
    assert "count\tsort images by the number of {}.\tobjects" in lines.splitlines()


def test_names_go_both_ways(files: Files) -> None:
    for name in files.official:
        ours = adapter_name(name)
        assert ours is None or official_name(ours, vit=True) == name
    assert sum(adapter_name(name) is not None for name in files.official) == len(own(files)) - 4


def test_other_adapters_say_nothing_of_a_projection() -> None:
    """Their configs, and so their identities, are what they were."""
    assert {"grid_projection", "grid_norm_eps"}.isdisjoint(AdapterConfig().to_dict())
    assert AdapterConfig.from_dict(SMALL_ADAPTER.to_dict()) == SMALL_ADAPTER
