"""`imgrank models` about Qwen2.5-VL folders and checkpoints of kind "rarl" on this machine that
nobody pulled: found, described, exported, made the default, published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from model_folders import Run, put, rows, runner

from imgrank.errors import CheckpointError, UsageError
from imgrank.models.catalogue import describe, sort_line
from imgrank.models.checkpoint import identity
from imgrank.models.registry import find, listed
from imgrank.models.resting import backbone_by_digest, lacking
from imgrank.models.terms import limits
from imgrank.models.vlm_spec import read_vlm
from imgrank.settings import Settings, load_settings

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from vlm_checkpoints import AGE, random_rarl


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


@pytest.fixture
def seer(settings: Settings, tiny_vlm_folder: Path) -> Path:
    """The tiny model among the models of the user."""
    return Path(shutil.copytree(tiny_vlm_folder, settings.models_dir / "seer"))


def edit(folder: Path, **facts: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_the_prefix_stands_before_models_that_look_at_several_pictures(
    run: Run, settings: Settings, seer: Path
) -> None:
    random_rarl(settings.models_dir / "ages", seer)
    assert find("rarl:seer", settings.models_dir).kind == "vlm"
    assert find("rarl:ages", settings.models_dir).tasks == {"age": AGE}
    for command in ("info", "verify", "default", "remove"):
        told = run("models", command, "rarl:tiny-quality")
        assert told.exit_code == 2, command
        assert "tiny-quality is of kind adapter, and rarl: stands before a checkpoint" in (
            told.stderr
        )
    for command in ("info", "default"):  # one of the list that is not here
        told = run("models", command, "rarl:vit-b-16")
        assert (told.exit_code, "vit-b-16 is of kind backbone" in told.stderr) == (2, True)
    told = run("models", "info", "rarl:qwen2.5-vl-7b").stdout.splitlines()
    assert told[0] == "qwen2.5-vl-7b: vlm, not here, unpinned"
    assert told[-1] == "next: imgrank models pull qwen2.5-vl-7b"
    with pytest.raises(UsageError, match="needs a name or a folder behind it"):
        find("rarl:", settings.models_dir)


@pytest.mark.parametrize("kind", ["llama", "qwen2_vl", "qwen3_vl"])
def test_other_models_of_transformers_are_refused(
    run: Run, settings: Settings, seer: Path, kind: str
) -> None:
    edit(seer, model_type=kind)
    told = run("models", "info", str(seer))
    assert told.exit_code == 3
    assert f"holds a model of transformers, of type '{kind}'. Of those imgrank uses Qwen2.5-VL" in (
        told.stderr
    )
    assert rows(run("models", "list", "--json"))["seer"]["state"] == "damaged"


def test_one_that_lies_elsewhere_is_found_by_what_was_trained_on_it(
    run: Run, settings: Settings, tiny_vlm_folder: Path, tmp_path: Path
) -> None:
    vlm = Path(shutil.copytree(tiny_vlm_folder, tmp_path / "shared" / "seer"))
    random_rarl(settings.models_dir / "ages", vlm)
    entry = find("ages", settings.models_dir)
    assert lacking(entry, settings) == "its backbone 'seer' is not here"
    told = run("models", "info", "ages").stdout
    assert "ages: rarl, no backbone" in told
    assert "imgrank models info FOLDER, the folder of that Qwen2.5-VL" in told
    assert run("models", "info", str(vlm)).exit_code == 0  # named once by its path
    assert lacking(entry, settings) == ""
    digest = read_vlm(vlm).identity
    assert backbone_by_digest(digest, settings, "vlm") == vlm.resolve()
    assert backbone_by_digest(digest, settings) is None  # it is no OpenCLIP folder
    shutil.rmtree(vlm)
    assert run("models", "verify", "ages").exit_code == 3


def test_it_is_not_imported_but_named(run: Run, tiny_vlm_folder: Path) -> None:
    told = run("models", "import", "backbone", str(tiny_vlm_folder))
    assert (told.exit_code, "is a Qwen2.5-VL, which needs no import: name" in told.stderr) == (
        *(3, True),
    )


def test_a_local_one_is_whole_or_says_what_is_missing(
    run: Run, settings: Settings, seer: Path
) -> None:
    assert run("models", "verify", "seer").stdout == "seer\tok\n"
    shard = sorted(seer.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-8])
    told = run("models", "verify", "seer")
    assert (told.exit_code, f"{shard} is no whole safetensors file" in told.stdout) == (3, True)
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"lacks 1 of its .*: {shard.name}"):
        find("seer", settings.models_dir)


def test_defaults(run: Run, settings: Settings, seer: Path) -> None:
    random_rarl(settings.models_dir / "ages", seer)
    assert run("models", "default", "rarl:ages").exit_code == 0
    assert run("models", "default", "seer", "--task", "quality").exit_code == 0
    assert run("models", "default").stdout == "age\tages\nquality\tseer\n"
    assert rows(run("models", "list", "--json"))["ages"]["default_for"] == ["age"]
    told = run("models", "default", "seer", "--task", "file_size")
    assert (
        told.exit_code,
        "cannot be asked for file_size: no model can see it" in told.stderr,
    ) == (*(2, True),)
    assert "by words, but no search" in run("models", "default", "seer").stderr
    told = run("models", "default", "ages", "--task", "quality")
    assert (told.exit_code, "was not trained for quality" in told.stderr) == (2, True)


def test_what_scores_depend_on_is_part_of_the_identity(tmp_path: Path, seer: Path) -> None:
    folder = random_rarl(tmp_path / "ages", seer)
    config = json.loads((folder / "config.json").read_text())
    model, task = config["model"], config["tasks"]["age"]
    seen = {identity(folder)}
    for changed in (
        {"model": {**model, "max_pixels": 6272}},
        {"model": {**model, "max_new_tokens": 65}},
        {"model": {**model, "lora": {**model["lora"], "alpha": 4}}},
        {"tasks": {"age": {**task, "range": [0, 90]}}},
        {"tasks": {"age": {**task, "prompt": "how old somebody is"}}},
        {"backbone": {**config["backbone"], "digest": f"sha256:{'0' * 64}"}},
    ):
        edit(folder, **{**config, **changed})
        seen.add(identity(folder))
    assert len(seen) == 7
    edit(folder, **{**config, "tasks": {"age": {**task, "measured": [{"data": "x"}]}}})
    assert identity(folder) in seen  # figures change no score


def test_export_writes_the_merged_folder_with_the_terms(
    run: Run, settings: Settings, seer: Path, tmp_path: Path
) -> None:
    (seer / "LICENSE").write_text("Research only.\n")
    random_rarl(settings.models_dir / "ages", seer, licence="research only; rests on seer")
    target = tmp_path / "merged"
    done = run("models", "export", "rarl:ages", str(target))
    assert (done.exit_code, done.stdout) == (0, f"{target}\n"), done.stderr
    entry = find(str(target))
    assert (entry.kind, entry.name) == ("vlm", "merged")
    assert read_vlm(target).identity != read_vlm(seer).identity
    assert (target / "LICENSE").read_text() == "Research only.\n"
    known = json.loads(run("models", "info", str(target), "--json").stdout)
    assert (known["licence"], known["research_only"]) == ("research-only-rests-on-seer", True)
    again = run("models", "export", "ages", str(target))
    assert (again.exit_code, "imgrank overwrites nothing" in again.stderr) == (2, True)
    told = run("models", "export", "seer", str(tmp_path / "other"))
    assert (told.exit_code, "is a Qwen2.5-VL, whole as it is" in told.stderr) == (2, True)


def test_what_rests_on_research_only_is_so_whatever_is_said(
    run: Run, settings: Settings, seer: Path
) -> None:
    """For checkpoints of every kind."""
    ages = random_rarl(settings.models_dir / "ages", seer, licence="mit")
    own = put("own-words", repository="me/own")
    edit(own, licence="research only, non-commercial; rests on UTKFace")
    phones = put("phones")
    backbone = json.loads((phones / "config.json").read_text())["backbone"]
    origin = listed()["mobileclip2-s0"].origin
    edit(phones, licence="", backbone={**backbone, "origin": f"{origin}@{'0' * 40}"})
    found = rows(run("models", "list", "--json"))
    flags = {name: found[name]["research_only"] for name in ("ages", "own-words", "phones", "tiny")}
    assert flags == {"ages": False, "own-words": True, "phones": True, "tiny": False}
    backbone = json.loads((ages / "config.json").read_text())["backbone"]
    edit(ages, backbone={**backbone, "name": "qwen2.5-vl-3b"})
    assert rows(run("models", "list", "--json"))["ages"]["research_only"]
    assert "licence   mit; for research only" in run("models", "info", "ages").stdout
    config = json.loads((ages / "config.json").read_text())
    assert limits("mit", config, None) == [
        "it rests on qwen2.5-vl-3b, whose licence (Qwen RESEARCH LICENSE) allows research only"
    ]


def test_a_folder_of_somebody_elses_says_its_terms_itself(run: Run, seer: Path) -> None:
    (seer / "LICENSE").write_text("\n  Some RESEARCH LICENSE AGREEMENT\n\nmore\n")

    def told() -> tuple[str, bool]:
        found = rows(run("models", "list", "--json"))["seer"]
        return found["licence"], found["research_only"]

    assert told() == ("Some RESEARCH LICENSE AGREEMENT", True)
    (seer / "README.md").write_text("---\nlicense: other\n---\n# seer\n")
    assert told() == ("Some RESEARCH LICENSE AGREEMENT", True)
    (seer / "README.md").write_text("---\nlicense: apache-2.0\n---\n# seer\n")
    assert told() == ("apache-2.0", False)


@pytest.mark.parametrize(
    ("task", "prompt", "wish"),
    [
        ("age", "the person's age", "by age"),
        ("count", "the number of {}", "by the number of dogs"),
        ("a-cosy-room", 'the degree to which the image shows "a cosy room"', "a cosy room"),
        ("odd", "what $(costs)", "a cat"),
    ],
)
def test_its_card_and_the_list_name_a_sort_that_it_answers(
    tmp_path: Path, seer: Path, task: str, prompt: str, wish: str
) -> None:
    known = {**AGE, "prompt": prompt, **({"subjects": ["dogs"]} if task == "count" else {})}
    folder = random_rarl(tmp_path / "mine", seer, tasks={task: known})
    line = f'imgrank sort PHOTOS "{wish}" --model rarl:'
    assert f"    {line}mine\n" in (folder / "README.md").read_text()
    assert sort_line(describe(str(folder), load_settings())) == f"{line}{folder}"


def test_doctor_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgrank.cli import doctor

    assert json.loads(run("doctor", "--json").stdout)["extras"]["rarl"] == "installed"
    there = doctor.importlib.util.find_spec
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name == "peft" else there(name)
    )
    found = json.loads(run("doctor", "--json").stdout)["extras"]
    assert found["rarl"] == "missing: pip install 'imgrank[rarl]'"
