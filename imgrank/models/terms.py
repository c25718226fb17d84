"""Under which terms a model may be used, its own and those of what it rests on. No torch.

What was made of a model for research only is for research only too, whatever is said of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgrank.models.checkpoint import CARD
from imgrank.models.licence import research_only
from imgrank.models.registry import Listed, listed
from imgrank.models.resting import listed_base

__all__ = ["TERMS", "licence_of", "licence_said", "limits"]

TERMS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "NOTICE", "NOTICE.txt")
"""Files that say under which terms a Qwen2.5-VL may be used: they are kept beside its weights."""


def licence_of(said: str, config: Mapping[str, Any], known: Listed | None) -> str:
    """The licence by its name, "" if nobody names one.

    said: by the Hub, where "other" is any that it has no name for.   config: of a checkpoint.
    known: what the package's list says of the model.
    """
    if said not in ("", "other"):
        return said
    return str(config.get("licence") or "") or (known.licence if known else "") or said


def licence_said(folder: Path) -> str:
    """What the files of a backbone or a Qwen2.5-VL say: the front matter of its card, which a
    training, an export or its owners wrote, else the first line of its licence; else ""."""
    front = dict(
        re.findall(
            r"^(license|license_name): *['\"]?([\w.-]+)['\"]?$",
            _start(folder / CARD).partition("---\n")[2].partition("\n---")[0],
            re.MULTILINE,
        )
    )
    said = str(front.get("license_name") or front.get("license", ""))
    if said not in ("", "other"):
        return said
    lines = (_start(folder / name).strip().partition("\n")[0] for name in TERMS)
    return next((line.strip()[:60] for line in lines if line), said)


def _start(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(10_000)


def limits(licence: str, config: Mapping[str, Any], known: Listed | None) -> list[str]:
    """What to say of a licence that allows research only, and what to take instead; else []."""
    base = listed_base(config)
    own = str(config.get("licence") or licence)
    if (known and known.research_only) or research_only(own):
        found = [f"its licence ({licence or 'see its page'}) allows research only"]
    elif base and base.research_only:
        found = [f"it rests on {base.name}, whose licence ({base.licence}) allows research only"]
    else:
        return []
    if known and (other := listed().get(known.instead)):
        found.append(
            f"for other use take {other.name}, whose licence is {other.licence or 'unknown'}: "
            f"imgrank models pull {other.name}"
        )
    return found
