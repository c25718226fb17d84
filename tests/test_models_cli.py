"""`imgrank models list` and `info`, and what the README says of them."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from model_folders import EMBEDDED_NAMES, PHOTOS, REVISION, Place, Run, put, rows, runner
from rich.console import Console

from imgrank.cli import cli
from imgrank.models.registry import EMBEDDED, listed
from imgrank.settings import load_settings

QUALITY = EMBEDDED / "tiny-quality"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(monkeypatch)


@pytest.fixture
def place(home: Path) -> Place:
    return put


# ---- list ----------------------------------------------------------------------------------------


def test_list_has_all_that_is_here_and_all_that_is_known(run: Run, place: Place) -> None:
    place("mine", repository="me/adapter")
    found = rows(run("models", "list", "--json"))
    assert set(found) == {*EMBEDDED_NAMES, "mine", *listed()}
    assert [found[n]["state"] for n in ("tiny", "mine", "vit-b-16", "official-count")] == [
        *("embedded", "here", "not here", "unpublished"),
    ]
    assert found["mine"]["tasks"] == ["quality"]
    assert (found["mine"]["origin"], found["mine"]["revision"]) == ("hf:me/adapter", REVISION)
    assert found["mine"]["pinned"] == "by its origin.json"
    assert found["convnext-base-224"]["pinned"] == "unpinned"
    assert found["mobileclip2-s0"]["research_only"] is True
    said = [found[name]["research_only"] for name in ("tiny", "tiny-quality", "tiny-age")]
    assert said == [False, False, True]  # by the licence in its own config
    assert found["tiny"]["default_for"] == ["*"]
    assert found["convnext-base-224"]["bytes"] is None


def test_here_lists_only_what_is_here(run: Run, place: Place) -> None:
    place("mine")
    assert set(rows(run("models", "list", "--here", "--json"))) == {*EMBEDDED_NAMES, "mine"}


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
    headings = [line.split()[0] for line in lines if line and line[0] not in " i"]
    assert headings == ["Trained", "Tuned", "Backbones:", "Vision-language", "Face"]

    def line(name: str) -> list[str]:
        (found,) = [" ".join(line.split()) for line in lines if line.startswith(f" {name} ")]
        return found.split()

    assert line("tiny")[:5] == ["tiny", "19.2", "MB", "Apache-2.0", "embedded,"]
    assert "default for quality" in " ".join(line("tiny-quality"))
    assert "damaged" in line("half")
    assert " ".join(line("mobileclip2-s0")) == (
        "mobileclip2-s0 ~300 MB apple-amlr not here research only: made for phones"
    )
    assert " ".join(line("yunet")) == "yunet ~233 kB mit not here finds faces for `imgrank age`"
    assert line("convnext-base-224")[:6] == [
        *("convnext-base-224", "?", "unknown", "not", "here,", "unpinned"),
    ]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("width", [60, 80, 99, 100, 130])
def test_no_terminal_cuts_a_name_or_a_size(place: Place, width: int) -> None:
    from imgrank.cli.models_show import _short_licence, show_tables, standing
    from imgrank.models.catalogue import catalogue

    long = "CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
    place(long, "tiny", repository="me/base")
    place("mine", repository="me/adapter")
    load_settings().config.write_text('[models]\nquality = "mine"\n')
    found = catalogue(load_settings())
    out = io.StringIO()
    show_tables(found, Console(file=out, width=width))
    text = out.getvalue()
    cut = [word for line in text.splitlines() for word in line.split("  ") if "…" in word]
    assert {word.strip() for word in cut} <= {_short_licence(known) for known in found}
    names = {line.split()[0] for line in text.splitlines() if line.strip()}
    wanted = {known.name for known in found if width >= 80 or known.name != long}  # else it wraps
    assert wanted <= names
    assert " ~605 MB " in text
    assert ("research only: " in text) == (width >= 130)
    (mine,) = [known for known in found if known.name == "mine"]
    assert standing(mine) == "here, default for quality"
    if width == 80:
        assert "default: quality" in text
        assert max(map(len, text.splitlines())) <= 80


def test_info_is_as_wide_as_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    from imgrank.cli.models_show import _wrapped

    line = "  " + "srcc 0.75 [0.66, 0.82]; " * 9
    assert _wrapped(line) == [line]  # into a pipe
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("imgrank.cli.models_show.sys.stdout.isatty", lambda: True)
    lines = _wrapped(line)
    assert max(map(len, lines)) <= 50
    assert " ".join(" ".join(lines).split()) == line.strip()
    assert {each[:4] for each in lines[1:]} == {"    "}
    command = f"next: imgrank models pull {'x' * 80} {'y' * 80}"
    assert _wrapped(command) == [command]  # to be copied


def test_an_interrupted_pull_is_seen_in_the_list(run: Run, home: Path) -> None:
    for name in ("big", "vit-b-16"):
        staged = load_settings().models_dir / f".pull-{name}"
        staged.mkdir(parents=True)
        (staged / "open_clip_model.safetensors").write_bytes(bytes(2_000_000))
    (load_settings().models_dir / ".pull-big.lock").touch()
    for arguments in ((), ("--here",), ("--json",)):
        result = run("models", "list", *arguments)
        assert result.stderr.splitlines() == [
            "big: its pull is not finished, 2.0 MB are kept; the same pull goes on, "
            "imgrank models remove big deletes it",
            "vit-b-16: its pull is not finished, 2.0 MB are kept; imgrank models pull vit-b-16 "
            "goes on, imgrank models remove vit-b-16 deletes it",
        ]
        assert "big" not in result.stdout


def test_what_was_imported_says_from_where(run: Run, place: Place) -> None:
    place("mine", "tiny", repository="", origin="imported", revision="", asked="/from/here")
    row = rows(run("models", "list", "--json"))["mine"]
    assert (row["pinned"], row["state"]) == ("imported", "here")
    text = run("models", "info", "mine").stdout
    assert "origin    imported from /from/here" in text
    assert "unpinned" not in text
    assert "revision" not in text


def test_a_model_whose_backbone_is_gone_says_so_everywhere(run: Run, place: Place) -> None:
    config = place("mine") / "config.json"
    facts = json.loads(config.read_text())
    facts["backbone"] |= {"name": "loc", "digest": "sha256:" + "0" * 64}
    config.write_text(json.dumps(facts))
    problem = "its backbone 'loc' is not here"
    row = rows(run("models", "list", "--json"))["mine"]
    assert (row["state"], row["problem"]) == ("no backbone", problem)
    lines = run("models", "info", "mine").stdout.splitlines()
    assert problem in lines
    assert lines[-1] == "next: imgrank models import backbone FOLDER"
    result = run("models", "verify", "mine")
    assert (result.exit_code, result.stdout) == (3, f"mine\t{problem}\n")
    assert "imgrank models import backbone FOLDER" in result.stderr
    result = run("doctor", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["models"][str(config.parent)].startswith(problem)
    facts["backbone"]["origin"] = f"hf:me/base@{REVISION}"
    config.write_text(json.dumps(facts))
    line = f"imgrank models pull hf:me/base@{REVISION}"
    assert run("models", "info", "mine").stdout.splitlines()[-1] == f"next: {line}"
    assert line in run("models", "verify", "mine").stderr


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
        f"revision  {REVISION} (pinned by its origin.json)",
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
    assert unpublished.splitlines()[-1] == (
        "next: imgrank models import official-adapter FILE.pt --name official-count --task count"
    )
    assert "next:" not in run("models", "info", "rarl").stdout


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
