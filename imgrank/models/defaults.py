"""The user's choice of models in `config.toml`, written without losing its comments. No torch.

[models]
quality = "mine"      # by task
default = "vit-b-16"  # for what is neither measured nor trained for
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from imgrank.errors import ImgrankError, UsageError
from imgrank.models.checkpoint import RARL
from imgrank.models.registry import DETECTOR, VLM, Entry
from imgrank.settings import Settings
from imgrank.tasks import tasks

__all__ = ["ELSE", "check", "check_keys", "keys_of", "own_words", "set_defaults", "unset_defaults"]

ELSE = "default"


def check(entry: Entry, task: str) -> None:
    """Raises UsageError if there is no such task, or if the model does not answer it."""
    if task not in tasks():
        raise UsageError(f"there is no task '{task}'. Tasks are {', '.join(tasks())}.")
    if entry.kind == VLM:
        if not tasks()[task].rule:
            raise UsageError(f"{entry.name} cannot be asked for {task}: no model can see it.")
        return
    if not entry.by_words and task not in entry.tasks:
        answers = ", ".join(entry.tasks) or "nothing that it names"
        raise UsageError(f"{entry.name} was not trained for {task}; it answers {answers}.")


def keys_of(entry: Entry) -> list[str]:
    """What a model becomes the default of: its known tasks, or `ELSE` if it has none.

    Raises UsageError for a face detector, which answers nothing.
    """
    if entry.kind == DETECTOR:
        raise UsageError(f"{entry.name} answers nothing itself: `imgrank age` uses it unasked.")
    return [task for task in entry.tasks if task in tasks()] or [ELSE]


def own_words(entry: Entry) -> list[str]:
    """Prompts of its tasks that tasks.toml does not know: instructions in somebody's own words."""
    from imgrank.listwise.rules import as_asked

    facts_of = as_asked(entry.tasks) if entry.kind == RARL else entry.tasks
    own = {task: facts for task, facts in facts_of.items() if task not in tasks()}
    return [str(facts.get("prompt") or task) for task, facts in own.items()]


def check_keys(settings: Settings) -> None:
    """Raises UsageError if `[models]` of config.toml has a key that is no task: a typo."""
    unknown = sorted(settings.models.keys() - tasks().keys())
    if not unknown:
        return
    keys = [ELSE, *tasks()]
    close = difflib.get_close_matches(unknown[0], keys, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UsageError(
        f"{settings.config}: [models] names no known task '{unknown[0]}'.{hint} Keys there are "
        f"{', '.join(keys)}. To drop it: imgrank models default --unset --task {unknown[0]}"
    )


def set_defaults(settings: Settings, chosen: Mapping[str, str]) -> Path:
    """Writes `[models]` entries, task or `ELSE` -> model; the file, made if it was not there.

    Raises ImgrankError if it cannot be written.
    """

    def edit(models: Any) -> None:
        for key, name in chosen.items():
            models[key] = name

    return _edit(settings, edit)


def unset_defaults(settings: Settings, keys: Iterable[str]) -> Path:
    """Takes `[models]` entries out again; those that are not there do not matter.

    Raises ImgrankError if the file cannot be written.
    """

    def edit(models: Any) -> None:
        for key in keys:
            models.pop(key, None)

    return _edit(settings, edit)


def _edit(settings: Settings, edit: Callable[[Any], None]) -> Path:
    try:
        _rewrite(settings.config.resolve(), edit)  # what a link of dotfiles points to, not the link
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full. Make room" if full else f"{error.strerror}. Make it writable"
        raise ImgrankError(
            f"cannot write {settings.config}: {why}, or set IMGRANK_HOME to another folder."
        ) from error
    return settings.config


def _rewrite(target: Path, edit: Callable[[Any], None]) -> None:
    import tomlkit

    target.parent.mkdir(parents=True, exist_ok=True)
    text = target.read_text(encoding="utf-8") if target.is_file() else ""
    document = tomlkit.parse(text)
    if "models" not in document:
        document["models"] = tomlkit.table()
    edit(document["models"])
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_text(tomlkit.dumps(document), encoding="utf-8")
        if target.is_file():
            partial.chmod(target.stat().st_mode)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
