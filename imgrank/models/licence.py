"""What the text of a licence says about use. No torch."""

from __future__ import annotations

import re

__all__ = ["research_only", "restricted"]

_RESEARCH = re.compile(
    r"\bresearch\b.*\bonly\b|\bonly\b.*\bresearch\b|\bnon-?commercial research\b"
    r"|\bresearch[ -]licen[cs]e\b|\bqwen-research\b"
)
_RESTRICTED = re.compile(r"\b(nc|non-?commercial|research|amlr|ascl)\b")


def restricted(licence: str) -> bool:
    """Whether a licence's name says that some uses are forbidden: "cc-by-nc-4.0", "apple-amlr"."""
    return _RESTRICTED.search(licence.lower()) is not None


def research_only(licence: str) -> bool:
    """Whether a licence's own words allow research alone: "research only; rests on ..."."""
    return _RESEARCH.search(licence.lower()) is not None
