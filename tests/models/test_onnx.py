"""Towers on ONNX Runtime: the same features, no torch; and what is not taken, and why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from imgrank import api
from imgrank.cli import cli
from imgrank.errors import MissingExtra
from imgrank.images.decode import decode, to_square
from imgrank.models import onnx, onnx_export
from imgrank.models.backbone import Backbone
from imgrank.models.onnx import VERDICT, Engine, Wish, open_engine
from imgrank.models.spec import read_spec
from imgrank.opening import open_store
from imgrank.rankers.source import BackboneSource, Overrides
from imgrank.settings import Settings, load_settings
from imgrank.store.store import Store

TINY = Path(onnx.__file__).parents[1] / "weights" / "tiny"
PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
TEXTS = ["a dog on a beach", "Två hundar på stranden &amp; en katt 🐈", "x " * 100]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [to_square(decode(path.read_bytes(), 224), 224) for path in PHOTOS[:8]]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone(TINY)


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, backbone: Backbone, pictures: list[np.ndarray]
) -> Path:
    """A cache with both towers of tiny."""
    cache = tmp_path_factory.mktemp("cache")
    engine = open_engine(cache, read_spec(TINY), "onnx", "cpu", True, lambda text: None)
    assert engine is not None
    engine.saw_images(backbone, pictures)
    engine.saw_text(backbone)
    return cache


@pytest.fixture
def cache(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, for tests that change it."""
    shutil.copytree(exported, tmp_path / "cache")
    return tmp_path / "cache"


def engine_of(
    cache: Path, wish: Wish = "onnx", notify: Callable[[str], None] = lambda text: None
) -> Engine:
    onnx._engines.clear()  # as in another process
    engine = open_engine(cache, read_spec(TINY), wish, "cpu", True, notify)
    assert engine is not None
    return engine


def folder(cache: Path, tower: str) -> Path:
    (found,) = cache.glob(f"onnx/*/{tower}")
    return found


def verdict(cache: Path, tower: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(cache, tower) / VERDICT).read_text())
    return found


def test_pictures_have_the_features_that_torch_gives(
    exported: Path, backbone: Backbone, pictures: list[np.ndarray]
) -> None:
    others = [p[::-1] for p in pictures]  # not those of the export
    wanted, got = backbone.encode_images(others), engine_of(exported).image_features(others)
    assert got is not None
    assert len(got) == len(wanted) == 8
    for one, other in zip(wanted, got, strict=True):
        assert other.keys() == one.keys() == {"pooled", "grid", "statistics"}
        for name, array in one.items():
            assert other[name].dtype == np.float16
            assert other[name].shape == array.shape
            # Two steps of float16 at the largest value.
            assert np.abs(other[name] - array).max() <= 2**-10 * np.abs(array).max()


def test_a_picture_alone_has_the_same_features_as_in_a_batch(
    exported: Path, pictures: list[np.ndarray]
) -> None:
    engine = engine_of(exported)
    batch, alone = engine.image_features(pictures), engine.image_features(pictures[:1])
    assert batch is not None and alone is not None
    np.testing.assert_allclose(alone[0]["pooled"], batch[0]["pooled"], atol=2**-12)


def test_texts_have_the_features_that_torch_gives(exported: Path, backbone: Backbone) -> None:
    engine = engine_of(exported)
    embeddings, tokens = engine.encode("embedding", TEXTS), engine.encode("tokens", TEXTS)
    assert embeddings is not None and tokens is not None
    assert embeddings.dtype == tokens.dtype == np.float32
    np.testing.assert_allclose(embeddings, backbone.encode_text(TEXTS).numpy(), atol=2e-6)
    np.testing.assert_allclose(tokens, backbone.text_tokens(TEXTS).numpy(), atol=2e-5)


def test_the_verdict_says_how_close_they_are(exported: Path) -> None:
    image, text = verdict(exported, "image"), verdict(exported, "text")
    for found in (image, text):
        assert min(found["cosine"].values()) > 0.99999
        assert found["identity"] == read_spec(TINY).identity
    assert max(image["difference"].values()) < 0.002
    assert max(text["difference"].values()) < 1e-5


# ---- in use --------------------------------------------------------------------------------------


def settings(tmp_path: Path, engine: str = "auto") -> Settings:
    return load_settings(home=tmp_path / f"home-{engine}", engine=engine, device="cpu")


def scores(options: api.Options, words: str) -> dict[str, float]:
    return {row.path.name: row.score for row in api.sort(PHOTOS, words, options=options)}


def test_scores_are_those_of_torch_and_the_towers_are_exported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "ENOUGH", 8)
    monkeypatch.setattr(onnx_export, "_speed", lambda old, new: 2.0)
    notices: list[str] = []
    mine = api.Options(settings=settings(tmp_path), notify=notices.append)
    plain = api.Options(settings=settings(tmp_path, "torch"))
    for words in ("a cat in a box", "a cup of coffee"):
        got, wanted = scores(mine, words), scores(plain, words)
        assert got.keys() == wanted.keys()
        for name, score in wanted.items():
            assert got[name] == pytest.approx(score, abs=2e-4)
    made = [n for n in notices if "for ONNX Runtime, once" in n]
    assert len(made) == 2
    assert any(n.startswith("ran on CPU") and "ONNX Runtime" in n for n in notices)
    assert not (tmp_path / "home-torch" / "cache" / "onnx").exists()


def test_few_pictures_are_not_worth_an_export(tmp_path: Path) -> None:
    api.index(PHOTOS, options=api.Options(settings=settings(tmp_path)))
    assert not (tmp_path / "home-auto" / "cache" / "onnx").exists()


SORT = """
import sys
from imgrank import api
options = api.Options(notify=(notices := []).append)
made = api.index(sys.argv[1], options=options)
rows = api.sort(sys.argv[1], sys.argv[2], options=options)
api.search(sys.argv[1], " ".join([sys.argv[2]] * 12), options=options)
print(made.computed, len(rows), [m for m in ("torch", "open_clip", "timm") if m in sys.modules])
print(notices)
"""


def test_neither_new_pictures_nor_a_new_instruction_import_torch(cache: Path, home: Path) -> None:
    shutil.copytree(cache, home / "cache")
    found = verdict(home / "cache", "image") | {"fast": True}
    (folder(home / "cache", "image") / VERDICT).write_text(json.dumps(found))
    (place := home / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (300, 200), (80 * i, 20, 90)).save(place / f"{i}.png")
    env = {**os.environ, "IMGRANK_HOME": str(home), "IMGRANK_ENGINE": "auto"}
    env |= {"IMGRANK_DEVICE": "cpu"}
    command = [sys.executable, "-c", SORT, str(place), "a violet wall"]
    out = subprocess.run(command, capture_output=True, text=True, env=env)
    assert out.stdout.splitlines()[0] == "3 3 []", out.stdout + out.stderr
    assert "only the first 23 words of" in out.stdout


def test_a_source_with_tensors_of_its_own_stays_with_torch(tmp_path: Path) -> None:
    source = BackboneSource(read_spec(TINY), overrides=Overrides(tmp_path, "0" * 64, text=True))
    with open_store(settings(tmp_path, "onnx"), [source], print):
        assert source.engine is None
        assert source.memory is not None
    assert source.memory is None


# ---- not taken -----------------------------------------------------------------------------------


def test_without_the_extra_torch_does_it(
    exported: Path, tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    engine = engine_of(exported, "auto")
    assert engine.encode("embedding", ["a cat"]) is None
    engine = engine_of(tmp_path, "auto")
    engine.saw_text(backbone)
    assert list(tmp_path.glob("onnx")) == []
    with pytest.raises(MissingExtra, match=r"imgrank\[onnx\]"):
        engine_of(exported, "onnx")


def test_torch_or_a_gpu_that_is_asked_for_is_obeyed(tmp_path: Path) -> None:
    spec = read_spec(TINY)
    for wish, device in (("torch", "cpu"), ("auto", "cuda"), ("auto", "mps"), ("auto", "cuda:1")):
        assert open_engine(tmp_path, spec, wish, device, True, print) is None  # type: ignore[arg-type]


def test_pictures_are_left_to_torch_where_a_gpu_may_be(
    exported: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_may_have_gpu", lambda: True)
    onnx._engines.clear()
    engine = open_engine(exported, read_spec(TINY), "auto", "auto", True, print)
    assert engine is not None
    assert engine.image_features(pictures) is None
    assert engine.encode("embedding", ["a cat"]) is not None


def test_a_graph_that_differs_is_refused_and_that_is_remembered(
    tmp_path: Path,
    backbone: Backbone,
    pictures: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = onnx_export._Image.forward

    def wrong(self: Any, x: Any) -> Any:
        pooled, grid, statistics = right(self, x)
        return pooled, grid + 0.01 * grid.roll(1, dims=-1), statistics

    monkeypatch.setattr(onnx_export._Image, "forward", wrong)
    notices: list[str] = []
    engine_of(tmp_path, notify=notices.append).saw_images(backbone, pictures)
    assert "its grid differs from torch's" in notices[-1]
    assert verdict(tmp_path, "image")["agrees"] is False
    assert [p.name for p in folder(tmp_path, "image").iterdir()] == [VERDICT]
    count = len(notices)
    again = engine_of(tmp_path, notify=notices.append)
    again.saw_images(backbone, pictures)
    assert again.image_features(pictures) is None
    assert len(notices) == count


def test_a_graph_that_is_slower_serves_the_first_pictures_only(
    tmp_path: Path,
    backbone: Backbone,
    pictures: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_export, "_speed", lambda old, new: 0.5)
    notices: list[str] = []
    engine_of(tmp_path, notify=notices.append).saw_images(backbone, pictures)
    assert "for many pictures torch is quicker, 2.00 times" in notices[-1]
    monkeypatch.setattr(onnx, "ENOUGH", 16)
    served = {}
    for wish in ("auto", "onnx"):
        engine = engine_of(tmp_path, wish)
        served[wish] = [engine.image_features(pictures) is not None for _ in range(3)]
    assert served == {"auto": [True, True, False], "onnx": [True, True, True]}


def test_a_tokenizer_that_differs_is_refused(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx_export._keep_tokenizer
    monkeypatch.setattr(
        onnx_export, "_keep_tokenizer", lambda *given: right(*given) | {"clean": "whitespace"}
    )
    notices: list[str] = []
    engine = engine_of(tmp_path, notify=notices.append)
    engine.saw_text(backbone)
    assert "other tokens than OpenCLIP's" in notices[-1]
    assert engine.encode("embedding", ["a cat"]) is None


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize("file", [onnx.GRAPH, onnx.WEIGHTS])
def test_a_damaged_graph_is_removed_and_torch_does_it(
    cache: Path, pictures: list[np.ndarray], tower: str, file: str
) -> None:
    graph = folder(cache, tower) / file
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])
    notices: list[str] = []
    engine = engine_of(cache, notify=notices.append)
    got = engine.image_features(pictures) if tower == "image" else engine.encode("tokens", ["a"])
    assert got is None
    assert len(notices) == 1 and "is damaged" in notices[0]
    assert not graph.parent.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"versions": {"torch": "2.0", "onnxruntime": "1.0"}},
        {"identity": "0" * 64},
        {"format": onnx.FORMAT + 1},
        {},  # damaged
    ],
)
def test_a_graph_of_another_model_or_version_is_not_used(
    cache: Path, change: dict[str, Any]
) -> None:
    path = folder(cache, "text") / VERDICT
    path.write_text(json.dumps(verdict(cache, "text") | change) if change else "[]")
    assert engine_of(cache).encode("embedding", ["a cat"]) is None


def test_an_export_replaces_one_of_other_versions(cache: Path, backbone: Backbone) -> None:
    path = folder(cache, "text") / VERDICT
    path.write_text(json.dumps(verdict(cache, "text") | {"versions": {}}))
    (killed := path.parents[1] / ".text-1").mkdir()
    os.utime(killed, (0, 0))
    engine_of(cache).saw_text(backbone)
    assert not killed.exists()
    assert engine_of(cache).encode("embedding", ["a cat"]) is not None


def test_a_full_disk_is_no_verdict(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    notices: list[str] = []
    engine = engine_of(tmp_path, notify=notices.append)
    engine.saw_text(backbone)
    assert "1 MB are free on the disk" in notices[-1]
    engine.saw_text(backbone)
    assert len(notices) == 2  # said once
    assert [p.name for p in tmp_path.glob("onnx/*/*")] == []


def test_an_exporter_that_fails_leaves_only_the_reason(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any, **options: Any) -> None:
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setattr(onnx_export.torch.onnx, "export", fail)
    notices: list[str] = []
    engine_of(tmp_path, notify=notices.append).saw_text(backbone)
    assert notices[-1].strip() == "not taken: no such operator"
    assert [p.name for p in tmp_path.glob("onnx/*/*/*")] == [VERDICT]


def test_the_cache_commands_know_the_exports(cache: Path, home: Path) -> None:
    def run(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["cache", *arguments], catch_exceptions=False).output

    shutil.copytree(cache, home / "cache")
    assert "image tower for ONNX Runtime (15." in run("info")
    facts = json.loads(run("info", "--json"))["exports"]
    assert [(f["model"], f["tower"], f["current"]) for f in facts] == [
        ("tiny", "image", True),
        ("tiny", "text", True),
    ]
    path = folder(home / "cache", "text") / VERDICT
    path.write_text(json.dumps(verdict(home / "cache", "text") | {"versions": {}}))
    assert "MB): tiny; of other versions" in run("info")
    run("prune")
    assert [f["tower"] for f in json.loads(run("info", "--json"))["exports"]] == ["image"]
    run("clear", "--yes")
    assert json.loads(run("info", "--json"))["exports"] == []


def test_parity_in_numbers() -> None:
    wanted = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert onnx_export.parity(wanted, wanted) == (1.0, 0.0)
    cosine, difference = onnx_export.parity(wanted, np.array([[4.0, 3.0], [0.0, 0.0]]))
    assert cosine == pytest.approx(24 / 25)
    assert difference == pytest.approx(1 / 4)
    assert onnx_export.parity(wanted, np.array([[3.0, 4.0], [0.0, 0.1]]))[0] == 0.0


def test_the_store_cannot_tell_them_apart(
    tmp_path: Path, exported: Path, pictures: list[np.ndarray]
) -> None:
    # Features go under the same identity: a run on one engine serves the other.
    mine = settings(tmp_path, "onnx")
    shutil.copytree(exported / "onnx", mine.cache_dir / "onnx")
    onnx._engines.clear()
    assert api.index(PHOTOS, options=api.Options(settings=mine)).computed == len(PHOTOS)
    plain = load_settings(home=mine.home, engine="torch")
    assert api.index(PHOTOS, options=api.Options(settings=plain)).known == len(PHOTOS)
    with Store(mine.store_path) as store:
        assert {f.name for f in store.info().features} == {"pooled", "statistics", "grid"}
