"""Backbones: equal to OpenCLIP's own forward, statistics by a slow reference, identity without
torch. A small random model of tiny's architecture stands in, so no trained weights are needed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from imgrank.errors import CheckpointError
from imgrank.models import towers
from imgrank.models.backbone import Backbone, describe, statistics_token
from imgrank.models.device import one_thread, solo_pool
from imgrank.models.registry import EMBEDDED
from imgrank.models.spec import file_sha256, read_spec

S = 64
TIMM = {
    "timm_model_name": "tf_efficientnet_lite0",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "timm_proj_bias": True,
    "image_size": S,
}
VIT = {"image_size": S, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def make(folder: Path, vision: dict[str, object], custom: bool) -> Path:
    """A folder as OpenCLIP writes it, with random but lively weights."""
    torch.manual_seed(0)
    parts = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**parts)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.5)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    folder.mkdir(parents=True)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    config = {"model_cfg": parts | ({"custom_text": True} if custom else {}),
              "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2],
                                 "interpolation": "bicubic", "resize_mode": "squash"}}  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("models") / "lite", TIMM, custom=True)
    describe(folder, "lite", (1, 2, 3, 4))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "vit", VIT, custom=False)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, S, S, 3), dtype=np.uint8)


def plain(folder: Path) -> torch.nn.Module:
    return open_clip.create_model(f"local-dir:{folder}").eval()


def by_hand(batch: np.ndarray) -> torch.Tensor:
    x = (batch / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.5, 0.25, 0.2])
    return torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize("kind", ["lite", "vit"])
def test_pooled_and_text_equal_openclip_forward(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    backbone, model, batch = Backbone(folder), plain(folder), pixels(3)
    with torch.inference_mode():
        wanted = model.encode_image(by_hand(batch), normalize=True)
        ids = open_clip.get_tokenizer(f"local-dir:{folder}")(["a cat", "two dogs"])
        words = model.encode_text(ids, normalize=True)
    got = backbone.image_features(batch)
    torch.testing.assert_close(got["pooled"], wanted, atol=2e-5, rtol=0)
    torch.testing.assert_close(backbone.encode_text(["a cat", "two dogs"]), words)


def test_grid_is_the_last_feature_map_row_by_row(lite: Path) -> None:
    batch = pixels(2)
    with torch.inference_mode():
        feature_map = plain(lite).visual.trunk.forward_features(by_hand(batch))  # [B, C, 2, 2]
    grid = Backbone(lite).image_features(batch)["grid"]
    assert grid.shape == (2, 4, 1280)
    torch.testing.assert_close(grid[:, 1], feature_map[:, :, 0, 1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grid[:, 2], feature_map[:, :, 1, 0], atol=1e-4, rtol=1e-4)


def test_vit_grid_drops_the_class_token_and_is_normalised(vit: Path) -> None:
    batch, visual = pixels(2), plain(vit).visual
    seen: list[torch.Tensor] = []
    visual.transformer.register_forward_hook(lambda *call: seen.append(call[-1]))
    with torch.inference_mode():
        visual(by_hand(batch))
        wanted = visual.ln_post(seen[0])[:, 1:]
    torch.testing.assert_close(
        Backbone(vit).image_features(batch)["grid"], wanted, atol=1e-5, rtol=1e-4
    )


def test_statistics_of_blocks_1_2_4_6_by_slow_reference(lite: Path) -> None:
    batch, trunk = pixels(2), plain(lite).visual.trunk
    maps: dict[int, torch.Tensor] = {}
    for index in (1, 2, 4, 6):
        trunk.blocks[index].register_forward_hook(
            lambda _m, _i, out, index=index: maps.__setitem__(index, out)
        )
    with torch.inference_mode():
        trunk(by_hand(batch))
    row = []
    for index in (1, 2, 4, 6):
        values = maps[index][1].numpy().astype(np.float64)
        row += [channel.mean() for channel in values]
        row += [np.sqrt(((channel - channel.mean()) ** 2).mean()) for channel in values]
    got = Backbone(lite).image_features(batch)["statistics"][1]
    assert len(row) == 992
    np.testing.assert_allclose(got.numpy(), row, atol=1e-3, rtol=1e-3)


def test_statistics_token_worked_by_hand() -> None:
    values = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])  # [1, 2, 1, 2]
    assert statistics_token([values, values[:, :1]]).tolist() == [[2, 5, 1, 0, 2, 1]]


def test_features_do_not_depend_on_the_batch_size(lite: Path) -> None:
    batch, backbone = pixels(5), Backbone(lite)
    backbone.batch = 2
    two = backbone.encode_images(batch)
    backbone.batch = 5
    five = backbone.encode_images(list(batch))
    assert [row["grid"].dtype for row in two] == [np.float16] * 5
    for a, b in zip(two, five, strict=True):
        for name in ("pooled", "grid", "statistics"):
            np.testing.assert_allclose(a[name], b[name], atol=2e-3, rtol=2e-3)
    assert float(np.linalg.norm(two[0]["pooled"].astype(float))) == pytest.approx(1, abs=1e-3)


def test_text_tokens_are_final_layer_norm_at_all_positions(lite: Path) -> None:
    backbone, text = Backbone(lite), plain(lite).text
    text.output_tokens = True
    with torch.inference_mode():
        _, wanted = text(backbone.tokenize(["a cat", "a dog on the grass"]))
    got = backbone.text_tokens(["a cat", "a dog on the grass"])
    assert got.shape == (2, 12, 32)
    torch.testing.assert_close(got, wanted)


def test_what_follows_the_end_token_changes_no_embedding(lite: Path) -> None:
    model, backbone = plain(lite), Backbone(lite)
    ids = backbone.tokenize(["a cat"])
    other = ids.clone()
    other[0, 6:] = 777
    with torch.inference_mode():
        torch.testing.assert_close(model.encode_text(ids), model.encode_text(other))
    alone = backbone.text_tokens(["a cat"])
    beside = backbone.text_tokens(["a cat", "a much longer sentence about many things at once"])
    torch.testing.assert_close(alone[0], beside[0])


def test_only_the_tower_in_use_is_kept(lite: Path) -> None:
    backbone = Backbone(lite)
    backbone.encode_images(pixels(1))
    assert backbone._text is None
    assert "text" not in dict(backbone.visual.named_children())
    assert backbone.text.visual is None
    backbone.drop()
    assert backbone._visual is None and backbone._text is None


def test_pixels_of_another_shape_are_refused(lite: Path) -> None:
    with pytest.raises(ValueError, match="64, 64, 3"):
        Backbone(lite).normalise(np.zeros((1, 32, 32, 3), np.uint8))


def test_exchanged_weights_are_noticed(lite: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in lite.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert read_spec(copy).identity == read_spec(lite).identity
    weights = copy / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256 differs"):
        Backbone(copy).encode_images(pixels(1))


def test_record_holds_digest_and_widths(lite: Path) -> None:
    spec = read_spec(lite)
    assert spec.weights_sha256 == file_sha256(lite / "open_clip_model.safetensors")
    assert spec.widths == {"grid": 1280, "statistics": 992, "text": 32, "embed": 16}
    assert (spec.grid_tokens, spec.image_size, spec.name) == (4, S, "lite")
    assert (spec.mean, spec.std) == ((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))
    assert (spec.interpolation, spec.resize_mode) == ("bicubic", "squash")


def test_identity_follows_weights_config_and_statistics(lite: Path, tmp_path: Path) -> None:
    identities = {read_spec(lite).identity}
    for change in ("mean", "statistics", "digest"):
        folder = tmp_path / change
        folder.mkdir()
        for file in lite.iterdir():
            (folder / file.name).symlink_to(file)
        name = "open_clip_config.json" if change == "mean" else "imgrank.json"
        content = json.loads((lite / name).read_text())
        if change == "mean":
            content["preprocess_cfg"]["mean"][0] = 0.6
        elif change == "statistics":
            content["statistics"] = [1]
        else:
            content["weights_sha256"] = "0" * 64
        (folder / name).unlink()
        (folder / name).write_text(json.dumps(content))
        identities.add(read_spec(folder).identity)
    assert len(identities) == 4


def test_spec_is_read_without_torch(lite: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from imgrank.models.spec import read_spec;"
        "print(read_spec(Path(sys.argv[1])).identity);"
        "print([m for m in ('torch', 'open_clip', 'timm', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(lite)], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert out[:2] == [read_spec(lite).identity, "[]"]


def test_a_folder_that_names_the_hub_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *address: tried.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **kw: tried.append(address))
    folder = tmp_path / "far"
    shutil.copytree(EMBEDDED / "tiny", folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "hf-hub:timm/resnet18.a1_in1k"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="OpenCLIP cannot load"):
        _ = Backbone(folder).visual
    assert tried == []


def test_batches_side_by_side_leave_the_callers_threads_alone() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    pool = solo_pool(3)
    assert list(pool.map(lambda _: torch.get_num_threads(), range(6))) == [1] * 6
    assert torch.get_num_threads() == before
    pool.shutdown()


def out_of_memory_above(most: int, run, tried: list[int]):
    def limited(*given):
        count = len(given[-1])
        tried.append(count)
        if count > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return run(*given)

    return limited


def test_a_smaller_batch_of_texts_is_remembered(
    lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, texts = Backbone(lite), [f"a picture of {n} cats" for n in range(5)]
    wanted, tried = backbone.encode_text(texts), []
    monkeypatch.setattr(
        towers, "text_embeddings", out_of_memory_above(2, towers.text_embeddings, tried)
    )
    for _ in range(2):
        torch.testing.assert_close(backbone.encode_text(texts), wanted)
    assert tried == [5, 2, 2, 1, 2, 2, 1]


def test_a_smaller_batch_of_pictures_is_remembered(
    lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, tried = Backbone(lite, precision="float32"), []
    wanted = backbone.encode_images(pixels(5))
    backbone.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    backbone.batch = 64
    real = Backbone(lite, precision="float32")._encode
    monkeypatch.setattr(backbone, "_encode", out_of_memory_above(2, real, tried))
    for _ in range(2):
        found = backbone.encode_images(pixels(5))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a["grid"], b["grid"], atol=2e-3, rtol=2e-3)
    assert tried == [5, 2, 2, 1, 2, 2, 1]


def test_tensors_in_place_of_the_folders_own(lite: Path) -> None:
    state = plain(lite).state_dict()
    head, words = "visual.head.proj.weight", "text.token_embedding.weight"
    instead = {name: state[name].flip(0) for name in (head, words)}
    backbone, model = Backbone(lite, overrides=instead), plain(lite)
    model.load_state_dict(instead, strict=False)
    with torch.inference_mode():
        image = model.encode_image(by_hand(pixels(2)), normalize=True)
        text = model.encode_text(backbone.tokenize(["a cat"]), normalize=True)
    torch.testing.assert_close(
        backbone.image_features(pixels(2))["pooled"], image, atol=2e-5, rtol=0
    )
    torch.testing.assert_close(backbone.encode_text(["a cat"]), text)
    assert not torch.allclose(Backbone(lite).encode_text(["a cat"]), text, atol=1e-3)
    for wrong, said in (({"visual.x": state[head]}, "has no visual.x"),
                        ({head: state[head][:1]}, "do not fit")):  # fmt: skip
        with pytest.raises(CheckpointError, match=said):
            _ = Backbone(lite, overrides=wrong).visual


def test_a_half_precision_that_is_asked_for_is_used_and_named(vit: Path) -> None:
    half, full = Backbone(vit, precision="bfloat16"), Backbone(vit, precision="float32")
    got, wanted = half.encode_images(pixels(2)), full.encode_images(pixels(2))
    assert half.precision_note.startswith("bfloat16: as asked for; agrees with float32")
    assert full.precision_note == "float32: as asked for"
    for a, b in zip(got, wanted, strict=True):
        assert not np.array_equal(a["pooled"], b["pooled"])
        np.testing.assert_allclose(a["pooled"], b["pooled"], atol=0.02)


def test_many_threads_with_few_pictures_each_try_the_precision_too(
    vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgrank.models.precision.product_gain", lambda dtype: 0.5)
    before, backbone = torch.get_num_threads(), Backbone(vit)
    torch.set_num_threads(4)
    try:
        backbone.encode_images(pixels(3))
        assert backbone.precision_note == ""
        backbone.encode_images(pixels(8))
    finally:
        torch.set_num_threads(before)
    assert backbone.precision_note.startswith("float32: matrix products in bfloat16 are 0.50")


def test_a_backbone_with_statistics_stays_in_float32(lite: Path) -> None:
    backbone = Backbone(lite)
    backbone.encode_images(pixels(8))
    assert backbone.precision_note == "float32: statistics tokens were learnt from float32"


def test_describe_leaves_the_record_as_it_was_where_it_fails(lite: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(lite, folder)
    before = (folder / "imgrank.json").read_bytes()
    weights = folder / "open_clip_model.safetensors"
    save_file({"x": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="OpenCLIP cannot load"):
        describe(folder, "lite")
    assert (folder / "imgrank.json").read_bytes() == before


@pytest.mark.parametrize("tensor", ["visual.conv1.weight", "ln_final.weight"])
def test_weights_that_are_no_numbers_are_refused(vit: Path, tmp_path: Path, tensor: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(vit, folder)
    weights = folder / "open_clip_model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    state[tensor].fill_(float("nan"))
    save_file(state, weights)
    with pytest.raises(CheckpointError, match="no numbers"):
        describe(folder, "vit")
    (folder / "imgrank.json").unlink(missing_ok=True)  # as one by its path may have none
    if tensor.startswith("visual."):
        with pytest.raises(CheckpointError, match=r"no numbers.*--precision float32"):
            Backbone(folder).encode_images(pixels(2))


def test_no_pictures_have_no_features(lite: Path) -> None:
    assert Backbone(lite).encode_images([]) == []


def test_what_is_taken_of_a_tower_is_finite_in_float16(vit: Path) -> None:
    backbone = Backbone(vit)
    pixels = np.zeros((1, backbone.image_size, backbone.image_size, 3), np.uint8)
    (found,) = backbone.encode_images(pixels, lambda x: {"map": torch.tensor([[65_504.0]])})
    assert found["map"].tolist() == [65_504.0]
    with pytest.raises(CheckpointError, match="no numbers"):
        backbone.encode_images(pixels, lambda x: {"map": torch.tensor([[65_536.0]])})
