"""`imgrank models`: which models can answer, what is known of each, and how they get here."""

from __future__ import annotations

import importlib

import click

from imgrank.cli import taught

EXAMPLES = """\b
Examples:
  imgrank models list
  imgrank models info tiny-quality
"""
COMMANDS = {
    "list": ("models_show", "list_models"),
    "info": ("models_show", "info"),
    "pull": ("models_hub", "pull"),
    "import": ("models_import", "import_group"),
    "push": ("models_hub", "push"),
    "export": ("models_export", "export"),
    "verify": ("models_folder", "verify"),
    "remove": ("models_folder", "remove"),
    "default": ("models_default", "default"),
}


class Models(click.Group):
    """Loads the module of a command when it is called, or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name]
        command = getattr(importlib.import_module(f"imgrank.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return taught(command, ctx)


@click.group(cls=Models, epilog=EXAMPLES)
def models() -> None:
    """Show the models that can answer, and fetch, check, publish or import others.

    A model is a folder. Those in the package always work; others come from the Hub (pull), from
    files that their authors publish (import), or are folders of yours, named by their path.
    Only pull and push open a socket.
    """
