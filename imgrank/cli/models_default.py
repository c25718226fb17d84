"""`imgrank models default`: whom the router asks first."""

from __future__ import annotations

import click

from imgrank.errors import UsageError

EXAMPLES = """\b
Examples:
  imgrank models default
  imgrank models default tiny-quality --task quality
"""


@click.command(short_help="Choose who answers without --model.", epilog=EXAMPLES)
@click.argument("name", required=False)
@click.option("--task", metavar="TASK", help="For this task alone.")
@click.option("--unset", is_flag=True, help="Back to imgrank's own choice, for TASK or for all.")
def default(name: str | None, task: str | None, unset: bool) -> None:
    """Choose the model that answers without --model; without NAME, show what was chosen.

    A backbone, or one tuned for search, becomes the default for words: of every search, and of all
    that is neither measured from the pixels nor has a trained model; a model that was trained for
    tasks, of these; one that was trained for your own words alone, of those words. The choice is
    written into config.toml, whose comments stay.
    """
    from imgrank.models import defaults
    from imgrank.models.registry import VLM, find
    from imgrank.settings import load_settings

    settings = load_settings()
    if unset:
        if name:
            raise UsageError("--unset takes no NAME: name the task with --task.")
        _unset(task)
        return
    if name is None:
        if task:
            raise UsageError("--task needs the NAME of a model, or --unset.")
        _show()
        defaults.check_keys(settings)
        return
    entry = find(name, settings.models_dir)
    if entry.problem:
        raise UsageError(f"{entry.name} is damaged: {entry.problem}")
    if task:
        defaults.check(entry, task)
        keys = [task]
    else:
        keys = defaults.keys_of(entry)
    for key in keys:
        if key != defaults.ELSE:
            defaults.check(entry, key)
    known = entry.folder.parent == settings.models_dir or entry.where == "embedded"
    called = entry.name if known else str(entry.folder.resolve())
    path = defaults.set_defaults(settings, dict.fromkeys(keys, called))
    for key in keys:
        _say(f'{path}: [models] {key} = "{called}"')
    words = [f"'{each}'" for each in defaults.own_words(entry)]
    if defaults.ELSE in keys:
        all_else = "whatever goes by words"
        if entry.kind == VLM:
            all_else += ", but no search: it looks at some pictures at once, for seconds each"
        _say(f"{called} now answers {', '.join(words) or all_else}")
    elif words and not task:
        _say(f"for {', '.join(words)} it is asked with --model {called} alone")


def _unset(task: str | None) -> None:
    from imgrank.models import defaults
    from imgrank.settings import load_settings

    settings = load_settings()
    chosen = _chosen()
    keys = [task] if task else list(chosen)
    if task and task not in chosen:
        raise UsageError(
            f"no default was chosen for '{task}'. "
            + (f"There is one for {', '.join(chosen)}." if chosen else "There is none at all.")
        )
    if not keys:
        _say("no default was chosen; nothing to take back")
        return
    path = defaults.unset_defaults(settings, keys)
    _say(f"{path}: [models] without {', '.join(keys)}")


def _show() -> None:
    from imgrank.results.output import visible

    chosen = _chosen()
    for key, name in chosen.items():
        cells = [key, name, _lack(name)]
        click.echo("\t".join(visible(cell) for cell in cells if cell))
    if not chosen:
        _say("no default was chosen: imgrank takes the embedded models")


def _lack(name: str) -> str:
    """ "(not here)" or "(damaged)"; "" of a model that can answer."""
    from imgrank.errors import CheckpointError, ModelUnavailable
    from imgrank.models.registry import find
    from imgrank.settings import load_settings

    try:
        return "(damaged)" if find(name, load_settings().models_dir).problem else ""
    except ModelUnavailable:
        return "(not here)"
    except CheckpointError:
        return "(damaged)"


def _chosen() -> dict[str, str]:
    """Of config.toml alone: what this command can change."""
    from imgrank.models.defaults import ELSE
    from imgrank.settings import load_settings

    environment = {"IMGRANK_HOME": str(home)} if (home := load_settings().home) else {}
    settings = load_settings(environ=environment)
    return {**settings.models, **({ELSE: settings.model} if settings.model else {})}


def _say(text: str) -> None:
    from imgrank.results.output import visible

    click.echo(visible(text), err=True)
