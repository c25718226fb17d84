"""Pulls of a Qwen2.5-VL: several files, its terms first, whole or not at all. The model is the tiny
random one of `tiny_vlm.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from model_folders import Run, rows
from server import StandIn, sha256
from small_vlm import PLACE, repository

from imgrank.errors import CheckpointError, MissingExtra, ModelUnavailable
from imgrank.models import digests, hub_parts, registry
from imgrank.models.plan import plan
from imgrank.models.pull import pull
from imgrank.models.registry import Listed, find
from imgrank.models.vlm_spec import TELLING, read_vlm
from imgrank.settings import Settings

pytest.importorskip("transformers", reason="needs imgrank[rarl]")

from vlm_checkpoints import random_rarl

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="session")
def files(tiny_vlm_folder: Path) -> Mapping[str, bytes]:
    return repository(tiny_vlm_folder)


@pytest.fixture(scope="session")
def shards(tiny_vlm_folder: Path) -> list[str]:
    """Names of the files of weights."""
    return sorted(path.name for path in tiny_vlm_folder.glob("*.safetensors"))


@pytest.fixture
def listed_seer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's repository as if it were in the package's list, beside a free one."""
    rows = {
        "seer": Listed("seer", "vlm", f"hf:{PLACE}", licence="Qwen RESEARCH LICENSE",
                       research_only=True, instead="free-seer", bytes=1, use="a test"),
        "free-seer": Listed("free-seer", "vlm", "hf:owner/free", licence="apache-2.0", use="a"),
    }  # fmt: skip
    table = {**registry.listed(), **rows}
    for module in ("registry", "wish", "resting", "catalogue", "terms", "plan"):
        monkeypatch.setattr(f"imgrank.models.{module}.listed", lambda: table)


def fetched(hub: StandIn) -> set[str]:
    """Names of the files whose content was asked for."""
    asked = (request.split()[1].split("?")[0] for request in hub.requests)
    return {path.partition("/resolve/")[2].partition("/")[2] for path in asked} - {""}


def test_all_files_of_the_model_are_pulled_checked_and_nothing_else(
    hub: StandIn,
    run: Run,
    settings: Settings,
    files: Mapping[str, bytes],
    shards: list[str],
    tiny_vlm_folder: Path,
) -> None:
    commit = hub.add(PLACE, files)
    done = run("models", "pull", f"hf:{PLACE}", "--yes")
    assert done.exit_code == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == settings.models_dir / "seer"
    own = {path.name for path in tiny_vlm_folder.iterdir()}
    assert {path.name for path in folder.iterdir()} == {*own, "LICENSE", "origin.json"}
    assert all((folder / name).read_bytes() == files[name] for name in own)
    total = sum(len(files[name]) for name in (*own, "LICENSE"))
    said = done.stderr.splitlines()
    assert said[0].strip() == f"seer: vlm from {PLACE}"
    assert "licence   qwen-research" in said
    (size,) = [line for line in said if line.startswith("to fetch")]
    assert size.startswith(f"to fetch  {total / 1e3:.0f} kB: LICENSE, config.json, ")
    assert size.endswith(f" and {len(shards)} files of weights ({shards[0]}, ...)")
    assert f"its text  {hub.url}/{PLACE}/blob/{commit}/LICENSE; it is kept beside" in done.stderr
    assert said[-1] == 'seer is ready: imgrank sort PHOTOS "a cat" --model rarl:seer'

    for wish in ("seer", "rarl:seer", f"hf:{PLACE}", f"rarl:hf:{PLACE}", f"rarl:{folder}"):
        entry = find(wish, settings.models_dir)
        assert (entry.kind, entry.name, entry.folder) == ("vlm", "seer", folder)
    assert read_vlm(folder).identity == read_vlm(tiny_vlm_folder).identity
    known = rows(run("models", "list", "--json", "--here"))["seer"]
    assert (known["kind"], known["state"], known["pinned"]) == ("vlm", "here", "by the lock file")
    assert known["bytes"] == total + (folder / "origin.json").stat().st_size
    assert known["research_only"]
    told = run("models", "info", "rarl:seer").stdout.splitlines()
    assert told[:2] == ["seer: vlm, here", "any rule, in words"]
    assert json.loads(run("models", "info", "seer", "--json").stdout)["config"] == {}
    assert run("models", "verify", "seer").stdout == "seer\tok\n"
    doctor = json.loads(run("doctor", "--json").stdout)
    assert doctor["models"][str(folder)] == "ok"
    assert doctor["extras"]["rarl"] == "installed"
    hub.requests.clear()
    assert run("models", "pull", f"hf:{PLACE}").exit_code == 0
    assert hub.requests == []


def test_its_weights_are_not_hashed_again_after_the_pull(
    hub: StandIn,
    settings: Settings,
    files: Mapping[str, bytes],
    shards: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digests, "SETTLED", -1.0)  # as if the pull had taken its time
    hub.add(PLACE, files)
    folder = pull(plan(f"hf:{PLACE}", settings), settings)
    memory = json.loads((settings.cache_dir / "digests.json").read_text())
    kept = {Path(path).name: facts[-1] for path, facts in memory.items()}
    assert {name: kept[name] for name in shards} == {name: sha256(files[name]) for name in shards}
    monkeypatch.setattr(digests, "file_sha256", lambda path: pytest.fail(f"{path} is hashed"))
    assert digests.known_sha256(folder / shards[2]) == sha256(files[shards[2]])


@pytest.mark.usefixtures("listed_seer")
def test_terms_are_shown_before_anything_is_fetched(
    hub: StandIn, run: Run, files: Mapping[str, bytes]
) -> None:
    hub.add(PLACE, {**files, "README.md": b"---\nlicense: other\n---\n# seer"})
    small = {"config.json", INDEX}
    for answer, status in ((None, 2), ("\n", 1), ("n\n", 1)):
        done = run("models", "pull", "seer", answer=answer)
        assert (done.exit_code, fetched(hub)) == (status, small)
        assert "licence   Qwen RESEARCH LICENSE" in done.stderr
        assert (
            "warning: its licence (Qwen RESEARCH LICENSE) allows research only\n"
            "warning: for other use take free-seer, whose licence is apache-2.0: imgrank models "
            "pull free-seer\n"
        ) in done.stderr
        assert ("[y/N]" in done.stderr) == (answer is not None)
    offline = run("models", "pull", "seer", "--dry-run", "--offline").stdout
    assert "for other use take free-seer" in offline
    assert run("models", "pull", f"hf:{PLACE}", "--dry-run").stdout.count("warning:") == 3
    assert fetched(hub) == small
    assert run("models", "pull", "seer", "--yes").exit_code == 0
    assert rows(run("models", "list", "--json"))["seer"]["research_only"]


def test_terms_of_the_real_ones() -> None:
    small, large = registry.listed()["qwen2.5-vl-3b"], registry.listed()["qwen2.5-vl-7b"]
    assert (small.research_only, large.research_only) == (True, False)
    assert (small.instead, large.licence) == ("qwen2.5-vl-7b", "apache-2.0")
    with pytest.raises(ModelUnavailable) as caught:
        find("rarl:qwen2.5-vl-3b")
    assert str(caught.value) == (
        "'qwen2.5-vl-3b' is not on this machine (7.5 GB, licence Qwen RESEARCH LICENSE, for "
        "research only). Fetch it: imgrank models pull qwen2.5-vl-3b"
    )


def test_an_interrupted_pull_goes_on_with_the_file_where_it_stopped(
    hub: StandIn,
    run: Run,
    settings: Settings,
    files: Mapping[str, bytes],
    shards: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_parts, "LARGE", 1000)  # of these files every one is small
    monkeypatch.setattr(hub_parts, "CHUNK", 1000)
    shard, half = shards[2], len(files[shards[2]]) // 2000 * 1000
    hub.add(PLACE, files)
    hub.fail(shard, "truncate", at=half, method="GET")
    assert run("models", "pull", f"hf:{PLACE}", "--yes").exit_code == 3
    assert not (settings.models_dir / "seer").exists()
    hub.faults.clear()
    hub.requests.clear()
    hub.served.clear()
    left = plan(f"hf:{PLACE}", settings)
    assert left.bytes_to_fetch == sum(len(files[name]) for name in shards[2:]) - half
    assert run("models", "pull", f"hf:{PLACE}", "--yes").exit_code == 0
    ranges = {path.rpartition("/")[2]: asked for path, asked, _ in hub.served}
    assert ranges[shard] == f"bytes={half}-"
    assert not {*shards[:2]} & ranges.keys()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("SHARD", b"not such a file", "weights cannot be used: .*nothing was kept"),
        ("SHARD", None, "lacks 1 of the [0-9] files of weights .* names: model-00003-of-0000"),
        (INDEX, b'{"weight_map": {"a": "../../x.safetensors"}}', "no safetensors file beside it"),
        (INDEX, b'{"weight_map": {"a": "pytorch_model.bin"}}', "no safetensors file beside it"),
        (INDEX, b"{}", "names no files of weights"),
        (INDEX, None, "holds no model that imgrank can use"),
        (
            "tokenizer.json",
            b"{",
            "cannot load the processor .*the same pull then needs no download",
        ),
        ("config.json", b'{"model_type": "llama"}', "type 'llama'. Of those imgrank uses Qwen2.5"),
        ("config.json", b'{"model_type": "qwen2_vl"}', "of type 'qwen2_vl'. Of those imgrank"),
        ("config.json", b'{"model_type": "qwen3_vl"}', "of type 'qwen3_vl'. Of those imgrank"),
    ],
)
def test_what_cannot_be_used_becomes_no_model(
    hub: StandIn,
    settings: Settings,
    files: Mapping[str, bytes],
    shards: list[str],
    name: str,
    content: bytes | None,
    says: str,
) -> None:
    name = shards[2] if name == "SHARD" else name
    changed = {key: value for key, value in files.items() if key != name}
    hub.add(PLACE, changed if content is None else {**changed, name: content})
    with pytest.raises(ModelUnavailable, match=says):
        pull(plan(f"hf:{PLACE}", settings), settings)
    assert not (settings.models_dir / "seer").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "config.json",
            b'{"model_type": "qwen2_5_vl", "vision_config": {}, "quantization_config": {}}',
            "of quantised weights",
        ),
        ("config.json", b'{"model_type": "qwen2_5_vl"}', "the model could not see"),
        ("tokenizer.json", None, "has no tokenizer"),
        ("tokenizer_config.json", None, "does not say where a text ends"),
        ("processor_config.json", None, "does not say how pictures are scaled"),
        ("chat_template.jinja", None, "has no template of a chat"),
    ],
)
def test_what_cannot_be_used_is_seen_before_anything_large_is_fetched(
    hub: StandIn,
    settings: Settings,
    files: Mapping[str, bytes],
    name: str,
    content: bytes | None,
    says: str,
) -> None:
    changed = {key: value for key, value in files.items() if key != name}
    hub.add(PLACE, changed if content is None else {**changed, name: content})
    with pytest.raises(ModelUnavailable, match=says):
        plan(f"hf:{PLACE}", settings)
    assert fetched(hub) <= {*TELLING, "config.json"}


def test_another_file_than_its_index_says_is_told(
    hub: StandIn, settings: Settings, files: Mapping[str, bytes], shards: list[str]
) -> None:
    index = json.loads(files[INDEX])
    other = next(name for name, file in index["weight_map"].items() if file != shards[2])
    index["weight_map"][other] = shards[2]
    hub.add(PLACE, {**files, INDEX: json.dumps(index).encode()})
    with pytest.raises(ModelUnavailable, match=f"{shards[2]} has no {re.escape(other)}, which"):
        pull(plan(f"hf:{PLACE}", settings), settings)
    assert list(settings.models_dir.iterdir()) == []


def test_without_the_extra_nothing_is_fetched(
    hub: StandIn,
    settings: Settings,
    files: Mapping[str, bytes],
    tiny_vlm_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add(PLACE, files)
    folder = random_rarl(tmp_path / "ages", tiny_vlm_folder)
    hub.add("owner/ages", {path.name: path.read_bytes() for path in folder.iterdir()})
    monkeypatch.setattr("imgrank.models.published.importlib.util.find_spec", lambda name: None)
    for wish in (f"hf:{PLACE}", "hf:owner/ages"):
        with pytest.raises(MissingExtra, match=r"imgrank\[rarl\]"):
            plan(wish, settings)
    assert fetched(hub) == {"config.json"}


def test_a_damaged_one_is_told_and_the_advice_repairs(
    hub: StandIn, run: Run, settings: Settings, files: Mapping[str, bytes], shards: list[str]
) -> None:
    hub.add(PLACE, files)
    assert run("models", "pull", f"hf:{PLACE}", "--yes").exit_code == 0
    path, whole = settings.models_dir / "seer" / shards[2], files[shards[2]]
    path.write_bytes(whole[:-4] + b"abcd")
    told = run("models", "verify", "seer")
    assert (told.exit_code, f"{path} was altered" in told.stdout) == (3, True)
    path.write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match="is damaged: "):
        find("seer", settings.models_dir)
    path.unlink()
    told = run("models", "verify", "seer")
    assert (told.exit_code, f"lacks 1 of its {len(shards)} files" in told.stdout) == (3, True)
    assert rows(run("models", "list", "--json"))["seer"]["state"] == "damaged"
    for line in told.stderr.strip().partition(": ")[2].split(", then "):
        assert run(*line.split()[1:], "--yes").exit_code == 0
    assert run("models", "verify", "seer").stdout == "seer\tok\n"
