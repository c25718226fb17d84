"""Every kind of tower that OpenCLIP builds, small and random: equal to OpenCLIP's own forward of
the same folder, loaded plainly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from random_towers import SIGLIP_TEXT, TEXT, VIT, by_hand, config, make, pixels, plain, timm
from safetensors.torch import save_file
from torch import Tensor

from imgrank.errors import CheckpointError, MissingExtra
from imgrank.models import loading, towers
from imgrank.models.backbone import Backbone, describe
from imgrank.models.spec import read_spec

TEXTS = ["a cat", "two dogs on the grass, of which one sleeps"]
KINDS: dict[str, tuple[dict[str, Any], Callable[[Any], Any], int]] = {
    # model_cfg; the module whose output is the last feature map; its leading tokens
    "vit": (config(VIT, quick_gelu=True), lambda v: v.ln_post, 1),
    "vit-norm-after-pool": (
        config(VIT | {"final_ln_after_pool": True, "pool_type": "avg", "no_ln_pre": True}),
        lambda v: v.transformer,
        1,
    ),
    "vit-attention-pool": (
        config(VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}),
        lambda v: v.transformer,
        1,
    ),
    "resnet": (
        config({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}),
        lambda v: v.layer4,
        0,
    ),
    "convnext": (config(timm("test_convnext", 64, "", "mlp")), lambda v: v.trunk.norm_pre, 0),
    "efficientnet": (
        config(timm("test_efficientnet", 64, "avg", "linear"), custom_text=True),
        lambda v: v.trunk.bn2,
        0,
    ),
    "fastvit": (
        config(timm("fastvit_mci0", 64, "avg", None), TEXT | {"no_causal_mask": True},
               custom_text=True),
        lambda v: v.trunk.final_conv,
        0,
    ),
    "timm-vit": (config(timm("test_vit", 160, "token", "linear")), lambda v: v.trunk.norm, 1),
    "siglip": (
        config(timm("test_vit3", 160, "map", "none"), SIGLIP_TEXT, custom_text=True,
               init_logit_bias=-10) | {"embed_dim": 96},
        lambda v: v.trunk.norm,
        1,
    ),
    "perception": (
        config(timm("vit_pe_core_tiny_patch16_384", 384, "map", "none"),
               TEXT | {"pool_type": "argmax"}, custom_text=True) | {"embed_dim": 512},
        lambda v: v.trunk.norm,
        1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(tmp_path_factory.mktemp("towers") / kind, KINDS[kind][0])
        return made[kind]

    return get


def outputs(module: torch.nn.Module) -> list[Tensor]:
    seen: list[Tensor] = []
    module.register_forward_hook(lambda *call: seen.append(call[-1]))
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_image_features_equal_openclips_forward(kind: str, folders: Callable[[str], Path]) -> None:
    _, last, leading = KINDS[kind]
    folder = folders(kind)
    backbone, model = Backbone(folder), plain(folder)
    batch = pixels(backbone.image_size)
    seen = outputs(last(model.visual))
    with torch.inference_mode():
        pooled = model.encode_image(by_hand(batch), normalize=True)
    found = backbone.image_features(batch)
    torch.testing.assert_close(found["pooled"], pooled, atol=2e-5, rtol=0)
    assert set(found) == {"pooled", "grid"}
    grid, (final,) = found["grid"], seen
    if final.ndim == 4:
        _, C, h, w = final.shape
        assert grid.shape == (2, h * w, C)
        for row in range(h):
            for column in range(w):
                wanted = final[:, :, row, column]
                got = grid[:, row * w + column]
                torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
    else:
        torch.testing.assert_close(grid, final[:, leading:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_text_features_equal_openclips_forward(kind: str, folders: Callable[[str], Path]) -> None:
    folder = folders(kind)
    backbone, model = Backbone(folder), plain(folder)
    options = {"local_files_only": True} if kind == "siglip" else {}
    ids = open_clip.get_tokenizer(f"local-dir:{folder}", **options)(TEXTS)
    assert torch.equal(backbone.tokenize(TEXTS), ids)
    seen = outputs(getattr(model, "text", model).ln_final)
    with torch.inference_mode():
        wanted = model.encode_text(ids, normalize=True)
    torch.testing.assert_close(backbone.encode_text(TEXTS), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(backbone.text_tokens(TEXTS), seen[0], atol=1e-5, rtol=1e-5)


def test_a_map_with_its_channels_last_is_read_row_by_row() -> None:
    class Swin(torch.nn.Module):  # as timm's: no small one is there to be built
        output_fmt = "NHWC"

        def forward_features(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

        def forward_head(self, x: Tensor) -> Tensor:
            return x.mean((1, 2))

    visual = open_clip.timm_model.TimmModel("test_convnext", 16)
    visual.trunk, visual.head = Swin(), torch.nn.Identity()
    x = torch.arange(12.0).view(1, 3, 2, 2)
    found = towers.image_features(visual, x)
    assert found["grid"].tolist() == [[[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]]


def test_coca_gives_its_own_embeddings(tmp_path: Path) -> None:
    vision = VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    text = TEXT | {"embed_cls": True, "output_tokens": True, "context_length": 11}
    captions = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    cfg = config(vision, text, multimodal_cfg=captions | {"attn_pooler_heads": 2})
    torch.manual_seed(0)
    folder = tmp_path / "coca"
    folder.mkdir()
    state = {k: v.contiguous().clone() for k, v in open_clip.CoCa(**cfg).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    content = {"model_cfg": cfg | {"custom_text": True}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    backbone, model, batch = Backbone(folder), plain(folder), pixels(64)
    with torch.inference_mode():
        image = model.encode_image(backbone.normalise(batch))
        words = model.encode_text(backbone.tokenize(TEXTS))
    torch.testing.assert_close(backbone.image_features(batch)["pooled"], image, atol=1e-5, rtol=0)
    torch.testing.assert_close(backbone.encode_text(TEXTS), words, atol=1e-5, rtol=0)
    assert backbone.image_features(batch)["grid"].shape == (2, 16, 64)
    assert backbone.text_tokens(TEXTS).shape == (2, 11, 32)


def test_both_names_of_the_weights_and_their_order(tmp_path: Path) -> None:
    folder = make(tmp_path / "other", KINDS["vit"][0], "open_clip_pytorch_model")
    first = Backbone(folder).encode_text(["a cat"])
    assert read_spec(folder).weights.name == "open_clip_pytorch_model.safetensors"
    state = {name: value + 0.1 for name, value in plain(folder).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    backbone = Backbone(folder)
    assert backbone.spec.weights.name == "open_clip_model.safetensors"
    found = backbone.encode_text(["a cat"])
    with torch.inference_mode():
        wanted = plain(folder).encode_text(backbone.tokenize(["a cat"]), normalize=True)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, first, atol=1e-3)


def test_tensors_under_older_names_are_loaded_as_openclip_does(tmp_path: Path) -> None:
    parts = config(VIT)
    folder = make(tmp_path / "old", parts)
    before = Backbone(folder).encode_text(TEXTS), Backbone(folder).image_features(pixels(64))
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["model_cfg"]["custom_text"] = True  # now the model's text tensors begin with "text."
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    backbone = Backbone(folder)
    assert type(backbone.text) is open_clip.CustomTextCLIP
    torch.testing.assert_close(backbone.encode_text(TEXTS), before[0])
    torch.testing.assert_close(backbone.image_features(pixels(64)), before[1])


def test_weights_of_half_the_width_are_used_in_float32(
    tmp_path: Path, folders: Callable[[str], Path]
) -> None:
    folder = make(tmp_path / "half", KINDS["vit"][0])
    state = {name: value.half() for name, value in plain(folder).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    found = Backbone(folder).encode_text(TEXTS)
    assert found.dtype == torch.float32
    with torch.inference_mode():
        wanted = plain(folder).encode_text(Backbone(folder).tokenize(TEXTS), normalize=True)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_only_the_tensors_of_one_tower_are_read(
    tower: str, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = loading.safe_open

    class Counted:
        def __init__(self, *args: Any, **options: Any) -> None:
            self.file = real(*args, **options)

        def __enter__(self) -> Counted:
            self.inner = self.file.__enter__()
            return self

        def __exit__(self, *what: Any) -> None:
            self.file.__exit__(*what)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def get_tensor(self, name: str) -> Tensor:
            read.append(name)
            return self.inner.get_tensor(name)

    monkeypatch.setattr(loading, "safe_open", Counted)
    spec = read_spec(folders("convnext"))
    part = loading.load_tower(spec, tower, {})
    assert read and all(name.startswith("visual.") == (tower == "image") for name in read)
    assert all(torch.isfinite(value).all() for value in part.parameters())


def test_an_input_size_of_ones_own(tmp_path: Path) -> None:
    """As OpenCLIP's `force_image_size`: positions of a ViT are resized, a ConvNeXt has none."""
    for kind, size, tokens in (("vit", 96, 36), ("convnext", 96, 9), ("timm-vit", 96, 36)):
        folder = make(tmp_path / kind, KINDS[kind][0])
        own = read_spec(folder)
        other = describe(folder, kind, image_size=size)
        assert json.loads((folder / "imgrank.json").read_text())["image_size"] == size
        assert (other.image_size, other.grid_tokens, other.other_size) == (size, tokens, True)
        assert other.identity != own.identity
        with torch.inference_mode():
            model = plain(folder, force_image_size=size)
            wanted = model.encode_image(by_hand(pixels(size)), normalize=True)
        found = Backbone(folder).image_features(pixels(size))["pooled"]
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)


def test_statistics_only_of_timm_trunks(tmp_path: Path) -> None:
    folder = make(tmp_path / "vit", KINDS["vit"][0])
    with pytest.raises(CheckpointError, match="timm trunks"):
        describe(folder, "vit", statistics=(1,))
    assert not (folder / "imgrank.json").exists()


def test_an_image_tower_of_another_kind_is_named() -> None:
    with pytest.raises(CheckpointError, match="image tower Linear"):
        towers.image_features(torch.nn.Linear(3, 3), torch.zeros(1, 3, 8, 8))


# ---- what a folder may not do --------------------------------------------------------------------


def test_without_transformers_the_extra_is_named(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loading.importlib.util.find_spec
    monkeypatch.setattr(
        loading.importlib.util, "find_spec", lambda n: None if n == "transformers" else real(n)
    )
    backbone = Backbone(folders("siglip"))
    assert len(backbone.encode_images(pixels(160, 1))) == 1
    with pytest.raises(MissingExtra, match=r"pip install 'imgrank\[siglip\]'"):
        backbone.encode_text(TEXTS)
    with pytest.raises(MissingExtra):
        describe(backbone.spec.folder, "siglip")
    assert not (backbone.spec.folder / "imgrank.json").exists()


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "siglip", KINDS["siglip"][0])
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tokenizer of siglip cannot be read"):
        Backbone(folder).encode_text(TEXTS)


def test_a_tokenizer_runs_no_program_of_its_folder(tmp_path: Path) -> None:
    """Whatever the OpenCLIP config asks for, also to trust the folder's own program."""
    text = SIGLIP_TEXT | {"tokenizer_kwargs": {"trust_remote_code": True}}
    folder = make(tmp_path / "evil", KINDS["siglip"][0] | {"text_cfg": text})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": [None, "evil.Evil"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="cannot be read"):
        Backbone(folder).tokenize(TEXTS)
    assert not (tmp_path / "ran").exists()


def test_a_text_tower_that_openclip_would_fetch_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "roberta", KINDS["vit"][0])
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["model_cfg"]["text_cfg"] = {"hf_model_name": "roberta-base"}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="roberta-base"):
        Backbone(folder).image_features(pixels(64))


def test_a_text_tower_without_a_table_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "odd", config(VIT))
    path = folder / "open_clip_config.json"
    written = json.loads(path.read_text())
    written["model_cfg"]["text_cfg"] = None
    path.write_text(json.dumps(written))
    backbone = Backbone(folder)
    with pytest.raises(CheckpointError, match="text_cfg that is no table"):
        backbone.tokenize(["a cat"])
    with pytest.raises(CheckpointError, match="text_cfg that is no table"):
        _ = backbone.visual


def test_a_load_says_nothing(
    folders: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """OpenCLIP would warn of random weights, which are then loaded."""
    with caplog.at_level("WARNING"):
        loading.load_tower(read_spec(folders("vit")), "image", {})
    assert caplog.messages == []
    open_clip.create_model(f"local-dir:{folders('vit')}", load_weights=False)
    assert "initialized randomly" in caplog.text
