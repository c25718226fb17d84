"""Tab in real shells: bash and zsh on a pseudo-terminal, fish by its own `complete -C`."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imgrank.cli import SUMMARY, main
from imgrank.instruction import parse
from imgrank.tasks import tasks

EXAMPLES = Path(__file__).parents[1] / "examples"
LIMIT = 60.0  # seconds, for a machine that is busy
TYPED = [  # a line with Tabs, the words that it becomes
    ("imgrank compl\t", "imgrank completion"),
    ("imgrank sort phot\t", "imgrank sort photos"),
    ("imgrank models inf\t", "imgrank models info"),
    ("imgrank sort photos --dev\t", "imgrank sort photos --device"),
    ("imgrank sort photos --format jsonl\t", "imgrank sort photos --format jsonl"),
    ("imgrank sort photos --model tiny-qu\t", "imgrank sort photos --model tiny-quality"),
    ("imgrank sort photos --model=tiny-qu\t", "imgrank sort photos --model=tiny-quality"),
    ("imgrank eval --data koni\t", "imgrank eval --data koniq"),
    ('imgrank sort photos "by image qual\t', "imgrank sort photos by image quality"),
    ("imgrank sort photos dark\t", "imgrank sort photos darkest first"),
]


def environ() -> dict[str, str]:
    """This test's, with `imgrank` of this very environment on the path; no file of the user's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    home = os.environ["IMGRANK_HOME"]
    Path(home).mkdir(exist_ok=True)
    return {**os.environ, "PATH": path, "TERM": "dumb", "HOME": home, "ZDOTDIR": home}


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """A shell that has read the script, in examples/: the terminal's end, and the shell's name."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    flags = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[name]
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [name, *flags],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ(),
        cwd=EXAMPLES,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        setup = f'eval "$(imgrank completion {name})"'
        if name == "zsh":
            setup = f"autoload -U compinit; compinit -u -D; bindkey -e; {setup}"
        enter(ours, f"{setup}; printf '<%s>\\n' re\"\"ady", "<ready>")
        yield ours, name
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def enter(terminal: int, line: str, pattern: str) -> str:
    """Types a line; all that appears until the pattern does."""
    os.write(terminal, f"{line}\n".encode())
    text, end = "", time.monotonic() + LIMIT
    while not re.search(pattern, text):
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{pattern} has not come: {text}"
        text += os.read(terminal, 1 << 16).decode(errors="replace")
    return text


def test_tab_in_bash_and_zsh(shell: tuple[int, str]) -> None:
    terminal, _ = shell
    for line, words in TYPED:
        # Ctrl-A: the line becomes the arguments of printf, and the shell says what it made of it.
        text = enter(terminal, f"{line}\x01printf '<%s>' ", r"<imgrank>[^\r\n]*>[^']")
        found = re.findall(r"(?:<[^<>%]*>)+", text)[-1]
        assert " ".join(found.strip("<>").split("><")).replace("photos/", "photos") == words


def test_tab_in_fish() -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    lines = [line.rstrip("\t") for line, _ in TYPED]
    script = "imgrank completion fish | source; for l in $argv; complete -C $l; echo; end"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, *lines],
        env=environ(),
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [block.split("\n")[0].split("\t") for block in done.stdout.split("\n\n")][: len(lines)]
    assert [words[0].rstrip("/") for words in found] == [
        "completion", "photos", "info", "--device", "jsonl", "tiny-quality",
        "--model=tiny-quality", "koniq", "by image quality", "darkest first",
    ]  # fmt: skip
    assert found[0][1] == SUMMARY["completion"].replace(",", ";")


# ---- what is offered, without a shell ------------------------------------------------------------


def offered(line: str, check: str = "") -> list[str]:
    """What fish's script is told of the last word of a line: "type,value".

    check: Python that is run after it.
    """
    code = "import atexit, sys\nfrom imgrank.cli import main\n"
    code += f"atexit.register(lambda: exec({check!r}))\nsys.argv = ['imgrank']\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environ(), "_IMGRANK_COMPLETE": "fish_complete", "COMP_WORDS": line}
        | {"COMP_CWORD": line.rpartition(" ")[2]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [text.partition("\t")[0] for text in done.stdout.splitlines()]


def test_names_of_commands_need_none_of_their_modules() -> None:
    check = "sys.stdout.write('\\n' + ' '.join(m for m in sys.modules if m.startswith('imgrank')))"
    *found, _, modules = [*offered("imgrank s", check)]
    assert found == ["plain,sort", "plain,search", "plain,score"]
    assert set(modules.split()) == {
        "imgrank", "imgrank.cli", "imgrank.cli.completion", "imgrank.errors"
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["imgrank sort p --model t", "imgrank sort p b", "imgrank eval --data k"]
)
def test_no_completion_imports_torch(line: str) -> None:
    found = offered(line, "sys.stdout.write(f'\\n{\"torch\" in sys.modules}')")
    assert len(found) > 2
    assert found[-1] == "False"


def test_models_are_those_here_then_those_to_pull(home: Path) -> None:
    folder = home / "data" / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    found = offered("imgrank sort p --model ")
    assert found[0] == "plain,tiny"
    assert {"plain,mine", "plain,tiny-quality", "plain,vit-b-32-256"} <= set(found)
    assert "plain,yunet" not in found  # a detector orders nothing
    assert "plain,mine" in offered("imgrank models remove ")
    assert "plain,vit-b-32-256" not in offered("imgrank models remove ")
    assert "plain,mine" not in offered("imgrank models pull ")


def test_an_instruction_is_offered_once_there_is_a_path() -> None:
    assert offered("imgrank sort ") == ["file,"]
    found = [text.removeprefix("plain,") for text in offered("imgrank sort photos ")[1:]]
    assert {"by image quality", "oldest first", "darkest first"} <= set(found)
    assert len(found) == len(set(found))
    assert {parse(text).task for text in found} == set(tasks()) - {"count"}


def test_a_search_is_offered_files_and_models_of_its_kind() -> None:
    assert offered("imgrank search photos ") == ["file,"]
    assert offered("imgrank search photos --like ") == ["file,"]
    asked = offered("imgrank search photos --model ")
    assert {"plain,tiny", "plain,vit-b-32-256"} <= set(asked)
    assert not {"plain,tiny-quality", "plain,laion-aesthetic", "plain,yunet"} & set(asked)
    seconds = offered("imgrank search photos --rerank ")
    assert seconds[0] == "plain,aesthetic"
    assert {"plain,tiny", "plain,tiny-quality"} <= set(seconds)


def test_operations_to_take_back_are_offered_the_last_first(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["imgrank", *arguments])
        assert CliRunner().invoke(click.Command("imgrank", callback=main)).exit_code == 0

    photo = str(EXAMPLES / "photos" / "cat.jpg")
    for name in ("one", "two", "three"):
        run("sort", photo, "by file size", "--copy-to", str(tmp_path / name))
    run("undo")
    done = {path.stem: path.read_text() for path in (home / "data" / "operations").glob("*.jsonl")}
    found = [text.removeprefix("plain,") for text in offered("imgrank undo ")]
    assert len(found) == 2
    assert f"{tmp_path}/two" in done[found[0]]
    assert f"{tmp_path}/one" in done[found[1]]


def test_what_is_no_setting_is_not_told_while_one_types(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "config.toml").write_text("colour = 1\n")
    assert offered("imgrank sort p --model t") == [""]
