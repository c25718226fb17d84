"""What `imgrank decade` and `imgrank aesthetic` do with the rows that they have."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from imgrank.cli import options as shared
from imgrank.cli.after import After, estimated

if TYPE_CHECKING:
    from imgrank.estimates.found import Found

REASONS = 5  # that standard error tells; the rows have them all


def write(
    found: Found,
    after: After,
    reporter: shared.Reporter,
    out: shared.Output,
    into_groups: bool,
    *,
    nul: bool,
    strict: bool,
) -> int:
    """Files what is to be filed, rows to the output, the reasons of those without an estimate to
    people. Returns the exit status."""
    from imgrank.results.estimates import write_estimates

    reporter.stop()
    write = partial(write_estimates, found.rows, found.model, nul=nul, skipped=found.skips)
    entries = partial(estimated, found.rows, into_groups, reporter)
    status = after.run(write, entries, out, reporter, nul=nul)
    reasons = Counter(row.reason for row in found.rows if row.status == "out_of_range")
    for reason, count in reasons.most_common(REASONS):
        noun = "picture" if count == 1 else "pictures"
        reporter.notify(f"{count} {noun} out of range: {reason}")
    if len(reasons) > REASONS:
        reporter.notify(f"and {len(reasons) - REASONS} more reasons; --format json has all")
    read = reporter.finish(found.skips, computed=found.computed, known=found.known, strict=strict)
    return max(status, read)
