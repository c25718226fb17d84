"""The registry: what is known by name, what is here, and what is said of what is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest

from imgrank.errors import CheckpointError, ModelUnavailable
from imgrank.models.licence import research_only
from imgrank.models.registry import (
    EMBEDDED,
    absent,
    entries,
    find,
    listed,
    size_text,
)
from imgrank.models.spec import file_sha256
from imgrank.models.verifying import differences, verify
from imgrank.settings import load_settings

REVISION = "0123456789abcdef" * 2 + "01234567"
Pulled = Callable[..., Path]


@pytest.fixture
def models() -> Path:
    folder = load_settings().models_dir
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pulled(models: Path) -> Pulled:
    """A copy of the embedded adapter as a pull would have left it; facts of origin.json by name."""

    def make(name: str, **facts: Any) -> Path:
        folder = models / name
        shutil.copytree(EMBEDDED / "tiny-quality", folder)
        files = {
            path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in folder.iterdir()
        }
        origin = {
            "format": 1,
            "origin": "hf:me/adapter",
            "repository": "me/adapter",
            "revision": REVISION,
            "asked": "main",
            "files": files,
            "licence": "mit",
            "pulled": "2026-11-22",
        }
        (folder / "origin.json").write_text(json.dumps(origin | facts))
        return folder

    return make


# ---- registry.toml -------------------------------------------------------------------------------


def test_what_must_be_known_is_known() -> None:
    assert listed().keys() >= {
        *("convnext-large-320", "convnext-large-224", "convnext-base-224", "vit-b-16", "vit-l-14"),
        *("vit-b-32-256", "siglip2-b-16", "mobileclip2-s0", "laion-aesthetic"),
    }
    assert not listed().keys() & {entry.name for entry in entries()}  # never hides what is here


@pytest.mark.parametrize("name", [n for n, each in listed().items() if each.kind == "backbone"])
def test_a_backbone_is_what_openclip_says_it_is(name: str) -> None:
    known = listed()[name]
    config = open_clip.get_model_config(known.architecture)
    assert config is not None
    published = open_clip.get_pretrained_cfg(known.architecture, known.tag)
    assert published["hf_hub"] == f"{known.repository}/"
    assert bool(published.get("quick_gelu")) == bool(config.get("quick_gelu"))
    if name != "convnext-large-224":
        assert config["vision_cfg"]["image_size"] == known.image_size


def test_the_weights_of_one_entry_are_read_at_another_size_and_it_says_so() -> None:
    large, small = listed()["convnext-large-320"], listed()["convnext-large-224"]
    assert (large.image_size, small.image_size) == (320, 224)
    assert (large.origin, large.tag) == (small.origin, small.tag)
    assert "convnext-large-320" in small.use


@pytest.mark.parametrize("known", listed().values(), ids=lambda known: known.name)
def test_every_entry_is_whole_and_claims_nothing_unseen(known: Any) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", known.name)
    assert 0 < len(known.use) <= 45
    assert bool(known.origin) != bool(known.unpublished)  # either published or it says why not
    if known.origin:
        assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+", known.origin)
    assert known.revision == "" or re.fullmatch(r"[0-9a-f]{40}", known.revision)
    assert known.revision or not known.files  # digests are those of a commit
    digests = [facts.get("sha256", "") for facts in known.files.values()]
    if known.kind == "detector":
        assert len(digests) == 1  # and its digest may be unknown
    else:
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
    assert known.kind == "backbone" or known.backbone in {"", *listed()}
    assert known.convert in ("", "aesthetic-head")
    assert known.research_only == (known.licence in ("apple-amlr", "Qwen RESEARCH LICENSE"))
    assert known.instead in {"", *listed()}


def test_only_what_was_not_seen_as_it_is_now_is_unpinned() -> None:
    published = [known for known in listed().values() if known.origin]
    assert [known.name for known in published if not known.revision] == [
        "convnext-base-224",
        *("qwen2.5-vl-3b", "qwen2.5-vl-7b"),  # of these commits were seen, but only old ones
    ]


# ---- what is not here ----------------------------------------------------------------------------


def test_a_known_model_that_is_not_here_tells_size_licence_and_the_next_step() -> None:
    with pytest.raises(ModelUnavailable) as caught:
        find("mobileclip2-s0", load_settings().models_dir)
    assert str(caught.value) == (
        "'mobileclip2-s0' is not on this machine (300 MB, licence apple-amlr, for research only). "
        "Fetch it: imgrank models pull mobileclip2-s0"
    )
    assert "(licence unknown)" in absent("convnext-base-224")
    assert "(605 MB, licence mit)" in absent(listed()["vit-b-32-256"].origin)


def test_an_unpublished_one_says_so_instead_of_a_pull() -> None:
    assert "models import official-adapter FILE.pt" in absent("official-count")
    assert "nobody has published weights" in absent("l2rclip")
    assert "models pull" not in absent("official-count") + absent("l2rclip")


def test_a_typo_is_told_what_it_is_near_to() -> None:
    assert "Did you mean tiny-quality" in absent("tiny-qualty")
    assert "Did you mean vit-b-32" in absent("vit-b32")
    assert "Did you mean" not in absent("zzz")


def test_an_origin_that_was_never_pulled() -> None:
    for wish in ("hf:me/other", "hf:me/other@v1", "open_clip:RN50/yfcc15m"):
        with pytest.raises(ModelUnavailable, match=f"imgrank models pull {wish}$"):
            find(wish, load_settings().models_dir)


def test_an_openclip_name_without_a_tag_lists_the_tags() -> None:
    with pytest.raises(ModelUnavailable, match=r"a tag is missing: .* Its tags are openai"):
        find("open_clip:ViT-B-32", load_settings().models_dir)


# ---- what is here --------------------------------------------------------------------------------


def test_a_pulled_model_by_its_folder_and_by_its_origin(pulled: Pulled, models: Path) -> None:
    folder = pulled("mine")
    entry = find("mine", models)
    assert (entry.name, entry.where, entry.kind, entry.backbone) == (
        *("mine", "pulled", "adapter"),
        "tiny",
    )
    for wish in ("hf:me/adapter", f"hf:me/adapter@{REVISION}", f"hf:me/adapter@{REVISION[:7]}"):
        assert find(wish, models).folder == folder
    assert find("hf:me/adapter@main", models).folder == folder
    for wish in (f"hf:me/adapter@{REVISION[:6]}", "hf:me/adapter@v2", "hf:me/adapt"):
        with pytest.raises(ModelUnavailable):
            find(wish, models)


def test_a_revision_chooses_among_several_else_the_last_pulled(
    pulled: Pulled, models: Path
) -> None:
    old = pulled("zz-old", revision="a" * 40, pulled="2026-11-01", asked="v1")
    new = pulled("aa-new", revision="b" * 40, pulled="2026-11-22")
    assert find("hf:me/adapter", models).folder == new
    assert find("hf:me/adapter@v1", models).folder == old
    assert find(f"hf:me/adapter@{'a' * 40}", models).folder == old


def test_one_pulled_by_openclip_s_name(pulled: Pulled, models: Path) -> None:
    folder = pulled("vit", origin="open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert find("open_clip:ViT-B-32/laion2b_s34b_b79k", models).folder == folder


def test_a_listed_one_by_any_of_its_names(pulled: Pulled, models: Path) -> None:
    known = listed()["vit-b-16"]
    wishes = (known.origin, "open_clip:ViT-B-16/openai", "open_clip:ViT-B-16-quickgelu/openai")
    for wish in wishes:
        with pytest.raises(ModelUnavailable, match=r"599 MB.* imgrank models pull vit-b-16$"):
            find(wish, models)
    with pytest.raises(ModelUnavailable, match=f"imgrank models pull {known.origin}@v1$"):
        find(f"{known.origin}@v1", models)
    folder = pulled("mine", origin=known.origin, repository=known.repository)
    assert {find(wish, models).folder for wish in wishes} == {folder}


def test_hidden_folders_are_no_models(pulled: Pulled, models: Path) -> None:
    pulled(".pull-mine")
    assert [e.name for e in entries(models) if e.where != "embedded"] == []
    for wish in ("hf:me/adapter", ".pull-mine"):
        with pytest.raises(ModelUnavailable):
            find(wish, models)


def test_a_folder_beside_the_package_s_is_local(models: Path, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "tiny", tmp_path / "copy")
    entry = find(str(tmp_path / "copy"), models)
    assert (entry.name, entry.where, entry.origin) == ("tiny", "local", None)
    shutil.copytree(EMBEDDED / "tiny", models / "copy")
    assert find("copy", models).name == "copy"


# ---- damage --------------------------------------------------------------------------------------


def test_verify_reads_every_file_of_the_origin(pulled: Pulled, models: Path) -> None:
    folder = pulled("mine")
    verify(find("mine", models))
    card = folder / "README.md"
    card.write_text(card.read_text() + "!")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    found = differences(find("mine", models))
    assert {Path(text.split()[0]).name for text in found} == {"config.json", "README.md"}
    card.unlink()
    with pytest.raises(CheckpointError, match=r"README\.md is missing.*models remove mine"):
        verify(find("mine", models))


def test_a_cut_off_file_is_seen_without_reading_it(pulled: Pulled, models: Path) -> None:
    weights = pulled("mine") / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match="1000 bytes, and 1655608 were pulled"):
        find("mine", models)
    (entry,) = [e for e in entries(models) if e.name == "mine"]
    assert (entry.kind, "1000 bytes" in entry.problem) == ("damaged", True)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}'])
def test_an_origin_that_cannot_be_read(pulled: Pulled, models: Path, text: str) -> None:
    (pulled("mine") / "origin.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"origin\.json"):
        find("mine", models)


def test_a_backbone_without_weights_is_damaged(models: Path) -> None:
    shutil.copytree(EMBEDDED / "tiny", models / "half")
    (models / "half" / "open_clip_model.safetensors").unlink()
    (entry,) = [e for e in entries(models) if e.name == "half"]
    assert (entry.kind, "no weights" in entry.problem) == ("damaged", True)


def test_sizes_for_people() -> None:
    assert [size_text(n) for n in (589, 233_000, 19_161_538, 300_000_000, 1_410_000_000)] == [
        *("589 B", "233 kB", "19.2 MB"),
        *("300 MB", "1.4 GB"),
    ]


@pytest.mark.parametrize(
    ("licence", "wanted"),
    [
        ("research only, non-commercial; rests on UTKFace", True),
        ("Non-commercial research purposes", True),
        ("only for research", True),
        ("apple-amlr", False),  # registry.toml says so of it
        ("cc-by-nc-4.0", False),  # other uses than research are free too
        ("Apache-2.0; rests on researchers' data", False),
        ("", False),
    ],
)
def test_licences_that_say_research_only(licence: str, wanted: bool) -> None:
    assert research_only(licence) is wanted
