"""`imgrank models default` where something is not as it should be."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from model_folders import PHOTOS, Run, put, runner
from multi_task import AGE, COUNT, multi_task

from imgrank.settings import load_settings


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    home.mkdir(exist_ok=True)
    return runner(monkeypatch)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "the disk is full. Make room"),
        (errno.EROFS, "Read-only file system. Make it writable"),
    ],
)
def test_a_disk_that_takes_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    config = load_settings().config
    config.write_text("# mine\n")

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(code, "Read-only file system" if code == errno.EROFS else "No space left")

    monkeypatch.setattr(Path, "write_text", refuse)
    result = run("models", "default", "tiny")
    assert result.exit_code == 1
    assert result.stderr == (
        f"imgrank: cannot write {config}: {says}, or set IMGRANK_HOME to another folder.\n"
    )
    assert [path.name for path in config.parent.iterdir() if "config" in path.name] == [
        "config.toml"
    ]


def test_it_says_for_what_and_which_defaults_cannot_answer(run: Run) -> None:
    put("mine", "tiny")
    half = put("half")
    result = run("models", "default", "mine")
    assert result.stderr.splitlines()[-1] == "mine now answers whatever goes by words"
    assert run("models", "default", "half").exit_code == 0
    (half / "config.json").write_text("{")
    (load_settings().models_dir / "mine").rename(load_settings().models_dir / "renamed")
    result = run("models", "default")
    assert (result.exit_code, result.stdout) == (
        0,
        "quality\thalf\t(damaged)\ndefault\tmine\t(not here)\n",
    )


def test_a_typo_in_the_file_is_no_task(run: Run) -> None:
    config = load_settings().config
    config.write_text('[models]\ndefualt = "tiny"\n')
    for arguments in (("models", "default"), ("sort", str(PHOTOS), "a cat")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert (
            f"{config}: [models] names no known task 'defualt'. Did you mean default?"
            in result.stderr
        )
        assert "imgrank models default --unset --task defualt" in result.stderr
    assert run("models", "default", "--unset", "--task", "defualt").exit_code == 0
    assert run("models", "default").exit_code == 0


def test_a_model_for_ones_own_words_answers_to_these(run: Run) -> None:
    own = {"how-cosy": AGE | {"prompt": "how cosy it looks"}}
    multi_task(tasks=own)
    result = run("models", "default", "multi")
    assert result.exit_code == 0
    assert "multi now answers 'how cosy it looks'" in result.stderr
    for wish, model in (("how cosy it is", "adapter multi"), ("a cat", "zero-shot tiny")):
        assert model in run("sort", str(PHOTOS), wish, "-f", "paths").stderr
    line = next(t for t in run("models", "info", "multi").stdout.splitlines() if "next:" in t)
    assert line == 'next: imgrank sort PHOTOS "how cosy it looks" --model multi'


def test_known_tasks_beside_own_words_alone_become_defaults(run: Run) -> None:
    multi_task(tasks={"how-cosy": AGE | {"prompt": "how cosy it looks"}, "age": AGE})
    result = run("models", "default", "multi")
    assert load_settings().models == {"age": "multi"}
    assert "for 'how cosy it looks' it is asked with --model multi alone" in result.stderr


def test_the_next_step_of_a_counter_counts_what_it_was_trained_for(run: Run) -> None:
    multi_task(tasks={"count": COUNT | {"subjects": ["spheres"]}})
    shown = run("models", "info", "multi").stdout
    assert 'imgrank sort PHOTOS "by the number of spheres" --model multi' in shown
