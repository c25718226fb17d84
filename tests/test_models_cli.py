"""`imgrank models`, but for what needs the Hub: list, info, verify, remove, default, doctor."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from imgrank.cli import cli, main
from imgrank.models.registry import EMBEDDED, listed
from imgrank.models.spec import file_sha256
from imgrank.settings import load_settings

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
QUALITY = EMBEDDED / "tiny-quality"
REVISION = "0123456789abcdef" * 2 + "01234567"
Run = Callable[..., Result]
Place = Callable[..., Path]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line through the real entry point; answer: what is typed at a question."""

    def call(*arguments: str, answer: str | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["imgrank", *arguments])
        monkeypatch.setattr("imgrank.cli.asking._somebody_is_there", lambda: answer is not None)
        command = click.Command("imgrank", callback=main)
        return CliRunner().invoke(command, [], input=answer)

    return call


@pytest.fixture
def place(home: Path) -> Place:
    """Puts a copy of an embedded model into the models folder; with facts, as if pulled."""

    def put(name: str, source: str = "tiny-quality", **facts: Any) -> Path:
        folder = load_settings().models_dir / name
        shutil.copytree(EMBEDDED / source, folder)
        if facts:
            files = {
                path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
                for path in folder.iterdir()
            }
            origin = {
                **{"format": 1, "origin": f"hf:{facts['repository']}", "revision": REVISION},
                **{"asked": "main", "files": files, "licence": "mit", "pulled": "2026-11-22"},
            }
            (folder / "origin.json").write_text(json.dumps(origin | facts))
        return folder

    return put


def rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(result.stdout)}


# ---- list ----------------------------------------------------------------------------------------


def test_list_has_all_that_is_here_and_all_that_is_known(run: Run, place: Place) -> None:
    place("mine", repository="me/adapter")
    found = rows(run("models", "list", "--json"))
    assert set(found) == {"tiny", "tiny-quality", "mine", *listed()}
    assert [found[n]["state"] for n in ("tiny", "mine", "vit-b-16", "official-count")] == [
        *("embedded", "here", "not here", "unpublished"),
    ]
    assert found["mine"]["tasks"] == ["quality"]
    assert (found["mine"]["origin"], found["mine"]["revision"]) == ("hf:me/adapter", REVISION)
    assert found["mine"]["pinned"] == "by what is here"
    assert found["convnext-base-224"]["pinned"] == "unpinned"
    assert found["mobileclip2-s0"]["research_only"] is True
    assert found["tiny"]["default_for"] == ["*"]
    assert found["convnext-base-224"]["bytes"] is None


def test_here_lists_only_what_is_here(run: Run, place: Place) -> None:
    place("mine")
    assert set(rows(run("models", "list", "--here", "--json"))) == {"tiny", "tiny-quality", "mine"}


def test_a_lock_or_a_commit_pins(run: Run, place: Place) -> None:
    place("locked", repository="me/a")
    place("tagged", repository="me/b", asked="v1")
    place("exact", repository="me/c", asked=REVISION)
    lock = {"hf:me/a": {"revision": REVISION}, "hf:me/b@v1": {"revision": REVISION}}
    (load_settings().data_dir / "models.lock.json").write_text(
        json.dumps({"format": 1, "models": lock})
    )
    found = rows(run("models", "list", "--json"))
    assert [found[n]["pinned"] for n in ("locked", "tagged", "exact", "vit-b-16")] == [
        *("by the lock file", "by the lock file", "by its commit", "by the package"),
    ]


def test_piped_it_is_tsv_with_a_header(run: Run) -> None:
    header, *lines = [line.split("\t") for line in run("models", "list").stdout.splitlines()]
    assert header[:3] == ["name", "kind", "state"]
    assert {len(line) for line in lines} == {len(header)}
    by_name = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert by_name["mobileclip2-s0"]["research_only"] == "yes"
    assert by_name["tiny-quality"]["tasks"] == "quality"
    assert by_name["convnext-base-224"]["bytes"] == ""


def test_the_table_of_a_terminal_tells_what_matters(place: Place) -> None:
    from imgrank.cli.models_show import show_tables
    from imgrank.models.catalogue import catalogue

    place("half").joinpath("config.json").write_text("{")
    config = load_settings().config
    config.write_text('[models]\nquality = "tiny-quality"\n')
    out = io.StringIO()
    show_tables(catalogue(load_settings()), Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    trained, backbones = (i for i, line in enumerate(lines) if line and line[0] not in " i")
    assert trained < backbones

    def line(name: str) -> list[str]:
        (found,) = [" ".join(line.split()) for line in lines if line.startswith(f" {name} ")]
        return found.split()

    assert line("tiny")[:5] == ["tiny", "19.2", "MB", "Apache-2.0", "embedded,"]
    assert "default for quality" in " ".join(line("tiny-quality"))
    assert "damaged" in line("half")
    assert " ".join(line("mobileclip2-s0")) == (
        "mobileclip2-s0 ~300 MB apple-amlr not here research only: made for phones"
    )
    assert line("convnext-base-224")[:6] == [
        *("convnext-base-224", "?", "unknown", "not", "here,", "unpinned"),
    ]
    assert max(map(len, lines)) <= 100


def test_a_foreign_name_or_licence_cannot_drive_the_terminal(run: Run, place: Place) -> None:
    place("mine", repository="me/adapter", licence="\x1b[2Jmit")
    config = load_settings().models_dir / "mine" / "config.json"
    config.write_text(config.read_text().replace('"licence": "Apache', '"licence": "\\u001b[2JA'))
    for arguments in (("list",), ("info", "mine"), ("info", "mine", "--card")):
        assert "\x1b" not in run("models", *arguments).stdout


# ---- info ----------------------------------------------------------------------------------------


def test_info_of_one_that_is_here(run: Run, place: Place, tmp_path: Path) -> None:
    folder = place("mine", repository="me/adapter", asked="v1")
    text = run("models", "info", "mine").stdout
    assert text.startswith("mine: adapter, here")
    for part in (
        f"folder    {folder}",
        "origin    hf:me/adapter",
        f"revision  {REVISION} (pinned by what is here)",
        "rests on  tiny",
        "quality: MOS, 0 to 5",
        'prompt "sort images by the image quality of MOS"',
        "n = 183): srcc 0.7528 [0.6657, 0.8245]",
        'next: imgrank sort PHOTOS "by image quality" --model mine',
    ):
        assert part in text
    assert run("models", "info", "hf:me/adapter").stdout == text
    assert run("models", "info", str(folder)).stdout == text
    elsewhere = folder.rename(tmp_path / "elsewhere")
    lines = run("models", "info", str(elsewhere)).stdout.splitlines()
    assert lines[0] == "tiny-quality: adapter, here"
    assert lines[-1].endswith(f"--model {elsewhere}")


def test_info_of_one_that_is_not_here(run: Run) -> None:
    text = run("models", "info", "convnext-large-224").stdout
    assert "reads     224 x 224 pixels" in text
    assert "OpenCLIP  convnext_large_d_320" in text
    assert "size      ~1.4 GB" in text
    assert text.rstrip().endswith("next: imgrank models pull convnext-large-224")
    assert run("models", "info", listed()["convnext-large-320"].origin).stdout.startswith(
        "convnext-large-320: backbone, not here"
    )
    unpinned = run("models", "info", "convnext-base-224").stdout
    assert "licence   unknown" in unpinned
    assert "size      unknown" in unpinned
    assert "revision  unpinned: the first pull finds the commit and keeps to it" in unpinned
    unpublished = run("models", "info", "official-count").stdout
    assert (
        "models import official-adapter FILE.pt --name official-count --task count" in unpublished
    )
    assert "next:" not in unpublished


def test_info_as_json_and_the_card(run: Run) -> None:
    found = json.loads(run("models", "info", "tiny-quality", "--json").stdout)
    assert found["config"]["tasks"]["quality"]["unit"] == "MOS"
    assert json.loads(run("models", "info", "rarl", "--json").stdout)["config"] == {}
    card = run("models", "info", "tiny-quality", "--card").stdout
    assert card.strip() == (QUALITY / "README.md").read_text(encoding="utf-8").strip()
    result = run("models", "info", "vit-b-16", "--card")
    assert (result.exit_code, result.stdout) == (3, "")
    assert run("models", "info", "tiny-qualty").exit_code == 3


@pytest.mark.parametrize("text", ["by image quality", "a cat"])
def test_the_next_step_of_info_runs_as_it_stands(run: Run, text: str) -> None:
    name = {"by image quality": "tiny-quality", "a cat": "tiny"}[text]
    line = run("models", "info", name).stdout.splitlines()[-1]
    assert line == f'next: imgrank sort PHOTOS "{text}" --model {name}'
    assert run("sort", str(PHOTOS), text, "--model", name, "--offline").exit_code == 0


# ---- verify --------------------------------------------------------------------------------------


def test_verify_names_each_file_that_differs(run: Run, place: Place) -> None:
    folder = place("mine", repository="me/adapter")
    result = run("models", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["tiny\tok", "tiny-quality\tok", "mine\tok"]
    for name in ("README.md", "config.json"):
        (folder / name).write_text((folder / name).read_text() + "\n")
    result = run("models", "verify", "mine", "tiny")
    assert result.exit_code == 3
    assert sorted(line.split()[1] for line in result.stdout.splitlines()) == sorted(
        [str(folder / "README.md"), str(folder / "config.json"), "ok"]
    )
    assert f"imgrank models pull hf:me/adapter@{REVISION} --as mine" in result.stderr


def test_verify_of_a_damaged_or_half_pulled_one(run: Run, place: Place) -> None:
    (place("half") / "config.json").write_text("{")
    result = run("models", "verify", "half")
    assert (result.exit_code, "config.json" in result.stdout) == (3, True)
    (load_settings().models_dir / ".pull-begun").mkdir()
    result = run("models", "verify", "begun")
    assert result.exit_code == 3
    assert "Go on with it: imgrank models pull begun" in result.stderr


# ---- remove --------------------------------------------------------------------------------------


def test_remove_asks_and_says_what_rests_on_it(run: Run, place: Place) -> None:
    folder = place("mine", "tiny")
    spec = json.loads((folder / "open_clip_config.json").read_text())
    spec["preprocess_cfg"]["mean"] = [0.4, 0.4, 0.4]  # another backbone than the embedded one
    (folder / "open_clip_config.json").write_text(json.dumps(spec))
    from imgrank.models.spec import read_spec

    child = place("child")
    config = json.loads((child / "config.json").read_text())
    config["backbone"]["digest"] = f"sha256:{read_spec(folder).identity}"
    (child / "config.json").write_text(json.dumps(config))
    run("models", "default", "mine")
    result = run("models", "remove", "mine", answer="n\n")
    assert result.exit_code == 1
    assert "child cannot be used without mine" in result.stderr
    assert "imgrank models default --unset --task default" in result.stderr
    assert "19.2 MB" in result.stderr
    assert folder.is_dir()
    result = run("models", "remove", "mine", "--yes")
    assert (result.exit_code, folder.exists()) == (0, False)
    assert "19.2 MB freed" in result.stderr
    assert [p.name for p in folder.parent.iterdir()] == ["child"]


def test_remove_of_a_copy_of_the_embedded_backbone_hurts_nobody(run: Run, place: Place) -> None:
    place("copy", "tiny")
    place("child")
    assert "cannot be used" not in run("models", "remove", "copy", "--yes").stderr


def test_remove_takes_only_what_is_below_the_models_folder(
    run: Run, place: Place, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(QUALITY, elsewhere)
    for name in ("tiny", str(elsewhere), str(EMBEDDED / "tiny"), "..", "."):
        assert run("models", "remove", name, "--yes").exit_code in (2, 3)
    assert run("models", "remove", "nothing", "--yes").exit_code == 3
    assert (elsewhere.is_dir(), (EMBEDDED / "tiny").is_dir()) == (True, True)
    folder = place("mine")
    result = run("models", "remove", "mine")
    assert (result.exit_code, folder.is_dir()) == (2, True)
    assert "needs --yes" in result.stderr


def test_remove_of_a_link_leaves_what_it_points_to(run: Run, place: Place, tmp_path: Path) -> None:
    target = place("mine").rename(tmp_path / "target")
    (load_settings().models_dir / "linked").symlink_to(target)
    assert run("models", "remove", "linked", "--yes").exit_code == 0
    assert (target / "config.json").is_file()


def test_remove_of_a_damaged_one_and_of_what_a_pull_left(run: Run, place: Place) -> None:
    (place("half") / "config.json").unlink()
    staged = load_settings().models_dir / ".pull-begun"
    staged.mkdir()
    (staged / "open_clip_model.safetensors").write_bytes(bytes(2_000_000))
    assert run("models", "remove", "half", "--yes").exit_code == 0
    result = run("models", "remove", "begun", "--yes")
    assert "2.0 MB freed" in result.stderr
    assert list(staged.parent.iterdir()) == []


# ---- default -------------------------------------------------------------------------------------


def test_default_writes_config_and_keeps_comments(run: Run, place: Place) -> None:
    place("mine")
    config = load_settings().config
    config.write_text('# mine\ndevice = "cpu"  # no GPU\n\n[models] # whom I trust\n')
    result = run("models", "default", "mine")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f'{config}: [models] quality = "mine"' in result.stderr
    assert config.read_text() == (
        '# mine\ndevice = "cpu"  # no GPU\n\n[models] # whom I trust\nquality = "mine"\n'
    )
    assert run("models", "default", "tiny").exit_code == 0
    assert run("models", "default").stdout == "quality\tmine\ndefault\ttiny\n"
    result = run("sort", str(PHOTOS / "cat.jpg"), "by image quality")
    assert "quality: adapter" in result.stderr
    assert run("models", "default", "--unset", "--task", "quality").exit_code == 0
    assert run("models", "default").stdout == "default\ttiny\n"
    assert run("models", "default", "--unset").exit_code == 0
    assert "# no GPU" in config.read_text()
    assert load_settings().model is None
    assert "no default was chosen" in run("models", "default").stderr


def test_default_makes_the_file_if_there_is_none(run: Run) -> None:
    assert run("models", "default", "tiny", "--task", "age").exit_code == 0
    assert dict(load_settings().models) == {"age": "tiny"}
    assert rows(run("models", "list", "--json"))["tiny"]["default_for"] == ["age", "*"]


def test_default_refuses_what_cannot_be(run: Run, place: Place, tmp_path: Path) -> None:
    place("half").joinpath("config.json").write_text("{")
    for arguments, status, text in (
        (("tiny-quality", "--task", "age"), 2, "was not trained for age; it answers quality"),
        (("tiny", "--task", "agee"), 2, "no task 'agee'"),
        (("vit-b-16",), 3, "imgrank models pull vit-b-16"),
        (("half",), 3, "config.json"),
        (("--task", "age"), 2, "NAME"),
        (("tiny", "--unset"), 2, "--unset takes no NAME"),
        (("--unset", "--task", "age"), 2, "There is none at all"),
    ):
        result = run("models", "default", *arguments)
        assert (result.exit_code, text in result.stderr) == (status, True), result.stderr
    assert not load_settings().config.exists()


def test_default_by_path_is_kept_as_one(run: Run, tmp_path: Path) -> None:
    shutil.copytree(QUALITY, tmp_path / "elsewhere")
    assert run("models", "default", str(tmp_path / "elsewhere")).exit_code == 0
    assert load_settings().models["quality"] == str(tmp_path / "elsewhere")


def test_default_writes_through_a_link(run: Run, home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("# mine\n")
    home.mkdir()
    (home / "config.toml").symlink_to(real)
    assert run("models", "default", "tiny", "--task", "age").exit_code == 0
    assert (home / "config.toml").is_symlink()
    assert real.read_text().startswith("# mine\n")


# ---- without torch -------------------------------------------------------------------------------


def test_models_are_shown_and_checked_without_torch(place: Place) -> None:
    place("mine", repository="me/adapter")
    lines = (["list"], ["info", "mine"], ["verify"], ["default", "mine"], ["remove", "mine", "-y"])
    code = (
        "import sys; from imgrank.cli import cli\n"
        f"for line in {lines!r}: cli.main(['models', *line], standalone_mode=False)\n"
        "print([m for m in ('torch', 'numpy', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ---- README --------------------------------------------------------------------------------------


def readme_lines() -> list[str]:
    text = (PHOTOS.parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Models\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("imgrank ")]


@pytest.mark.parametrize("line", readme_lines())
def test_every_line_of_the_readme_is_a_command(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed, not run: they need the Hub."""
    monkeypatch.chdir(tmp_path)
    for name in ("iqa.pt", "head.pth"):
        (tmp_path / name).touch()
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    command.make_context(None, words)


def test_every_model_of_the_readme_is_known() -> None:
    names = {line.split()[3] for line in readme_lines() if " models pull " in line}
    known = {name for name in names if ":" not in name}
    assert known == {"vit-b-32-256", "laion-aesthetic"}
    assert known <= listed().keys()


# ---- what opens no socket ------------------------------------------------------------------------


def test_a_sort_by_a_model_that_is_not_here_says_how_to_get_it(run: Run) -> None:
    result = run("sort", str(PHOTOS), "a cat", "--model", "vit-b-32-256")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "imgrank: 'vit-b-32-256' is not on this machine (605 MB, licence mit). "
        "Fetch it: imgrank models pull vit-b-32-256\n"
    )


def test_a_checkpoint_without_its_backbone_says_how_to_get_that(run: Run, place: Place) -> None:
    config = place("mine") / "config.json"
    facts = json.loads(config.read_text())
    facts["backbone"] |= {"name": "vit-b-16", "digest": "sha256:" + "0" * 64}
    config.write_text(json.dumps(facts))
    result = run("sort", str(PHOTOS), "by quality", "--model", "mine")
    assert result.exit_code == 3
    assert "imgrank models pull vit-b-16, or put" in result.stderr
    facts["backbone"]["origin"] = f"hf:me/base@{REVISION}"
    config.write_text(json.dumps(facts))
    result = run("sort", str(PHOTOS), "by quality", "--model", "mine")
    assert f"imgrank models pull hf:me/base@{REVISION}, or put" in result.stderr


@pytest.mark.parametrize(
    ("how", "by"),
    [(("--offline",), "--offline"), ((), "HF_HUB_OFFLINE"), ((), "TRANSFORMERS_OFFLINE")],
)
def test_offline_pull_and_push_refuse_before_a_socket(
    run: Run, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...], by: str
) -> None:
    if not how:
        monkeypatch.setenv(by, "1")
    for arguments in (("pull", "vit-b-16", "--yes"), ("push", "tiny", "me/tiny", "--yes")):
        result = run("models", *arguments, *how)
        assert (result.exit_code, by in result.stderr) == (3, True), result.stderr


def test_offline_a_dry_run_tells_what_the_package_knows(run: Run) -> None:
    result = run("models", "pull", "mobileclip2-s0", "--dry-run", "--offline")
    assert result.exit_code == 0
    assert f"revision  {listed()['mobileclip2-s0'].revision} (pinned)" in result.stdout
    assert "to fetch  about 300 MB" in result.stdout
    assert "warning: its licence (apple-amlr) allows research only" in result.stdout
    result = run("models", "pull", "official-count", "--dry-run", "--offline")
    assert "models import official-adapter FILE.pt" in result.stdout
    assert run("models", "pull", "hf:me/adapter", "--dry-run", "--offline").exit_code == 3


def test_pull_of_an_embedded_or_unpublished_or_unknown_one(run: Run) -> None:
    result = run("models", "pull", "tiny")
    assert (result.exit_code, result.stdout) == (0, f"{EMBEDDED / 'tiny'}\n")
    assert "nothing to fetch" in result.stderr
    assert run("models", "pull", "rarl").exit_code == 3
    assert run("models", "pull", "nonsense").exit_code == 2


def test_doctor_tells_how_the_hub_would_be_reached(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setenv("https_proxy", "http://user:password@proxy.example")
    result = run("doctor", "--json")
    hub = json.loads(result.stdout)["hub"]
    assert hub["access"] == "only by `imgrank models pull` and `push`"
    assert (hub["endpoint"], hub["token"]) == ("https://mirror.example", "there")
    assert "HTTPS_PROXY" in hub["proxies"]
    assert "secret" not in result.stdout
    assert "password" not in result.stdout
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert json.loads(run("doctor", "--json").stdout)["hub"]["access"] == "off, by HF_HUB_OFFLINE"
    assert {"onnx", "siglip"} <= json.loads(result.stdout)["extras"].keys()
