"""Who gets which name in the folders of a plan.

First come, by rank, first served; a later bundle whose name is taken gets "-2", "-3", ... after its
stem. A name is taken if another bundle has it or something lies there under it, `clash_key` being
the measure; and if the pictures would get a family of strangers there: a RAW or a sidecar of the
same stem. What is there already is no clash: a copy with the same bytes, a link to the same file,
the file itself. What moves away leaves its name to others.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from itertools import count

from imgrank.files.bundles import Bundle
from imgrank.files.companions import is_known, split, ties
from imgrank.files.folders import Folder
from imgrank.files.naming import clash_key, impossible
from imgrank.files.plan import Action

__all__ = ["give_names"]


def give_names(bundles: Sequence[Bundle], action: Action) -> None:
    """Sets `targets` and `there` of each bundle, or its `refused`."""
    while True:
        going = [bundle for bundle in bundles if not bundle.refused]
        _Claims(going, action).run()
        if not any(bundle.refused for bundle in going):
            return
        # One that stays keeps its own name, which another one may just have been given.


class _Claims:
    def __init__(self, bundles: Sequence[Bundle], action: Action) -> None:
        self.bundles = bundles
        self.action = action
        self.claimed: set[tuple[int, str]] = set()
        self.stems: dict[tuple[int, str], bool] = {}  # and whether a tied family has it
        self.leaving: set[tuple[int, str]] = set()
        self.counted: dict[tuple[int, str, tuple[str, ...]], int] = {}

    def run(self) -> None:
        waiting = self.bundles
        if self.action == "move":
            stays = [b for b in self.bundles if b.into is b.folder and b.wished == b.family.stem]
            for bundle in stays:
                self.grant(bundle, bundle.wished, {name: name for name in bundle.names})
            numbers = {bundle.number for bundle in stays}
            waiting = [bundle for bundle in self.bundles if bundle.number not in numbers]
            self.leaving = {(id(b.folder), name) for b in waiting for name in b.family.names}
        for bundle in waiting:
            self.name(bundle)

    def name(self, bundle: Bundle) -> None:
        """The wished stem, or the first number that is free."""
        key = id(bundle.into), clash_key(bundle.wished), bundle.family.rests
        for number in count(self.counted.get(key, 1)):
            stem = bundle.wished if number == 1 else f"{bundle.wished}-{number}"
            for name in bundle.names:
                target = stem + name[len(bundle.family.stem) :]
                if why := impossible(target):
                    bundle.refused = why if name in bundle.rows else f"its companion {name}: {why}"
                    return
            targets = self.fitting(bundle, stem)
            if targets is not None:
                self.grant(bundle, stem, targets)
                if number == self.counted.get(key, 1):  # all before it are given away
                    self.counted[key] = number + 1
                return

    def grant(self, bundle: Bundle, stem: str, targets: dict[str, str]) -> None:
        into = id(bundle.into)
        bundle.targets = targets
        bundle.there = {
            name for name, target in targets.items() if self.lies_there(bundle, name, target)
        }
        self.claimed |= {(into, clash_key(target)) for target in targets.values()}
        key = into, clash_key(stem)
        self.stems[key] = bundle.family.tied or self.stems.get(key, False)

    def lies_there(self, bundle: Bundle, name: str, target: str) -> bool:
        if bundle.into is bundle.folder and name == target:
            return True
        return target in self.holders(bundle.into, target)

    def holders(self, folder: Folder, name: str) -> list[str]:
        """Who has this name there, as the folder is without those that leave it."""
        there = folder.names.get(clash_key(name), ())
        return [each for each in there if (id(folder), each) not in self.leaving]

    def fitting(self, bundle: Bundle, stem: str) -> dict[str, str] | None:
        """The names that a bundle gets with this stem; None if one of them is taken."""
        into = bundle.into
        targets: dict[str, str] = {}
        new = False
        for name in bundle.names:
            target = stem + name[len(bundle.family.stem) :]
            key = clash_key(target)
            if (id(into), key) in self.claimed:
                return None
            if holders := self.holders(into, target):
                same = next((each for each in holders if self.is_same(bundle, name, each)), None)
                if same is None:
                    return None
                targets[name] = same
            elif key in into.children:  # a folder that will be made
                return None
            else:
                targets[name] = target
                new = True
        return None if new and self.meets_strangers(bundle, stem, targets) else targets

    def meets_strangers(self, bundle: Bundle, stem: str, targets: dict[str, str]) -> bool:
        key = clash_key(stem)
        tied = bundle.family.tied
        claimed = self.stems.get((id(bundle.into), key))
        if claimed is not None and (tied or claimed):
            return True
        own = set(targets.values())
        suffixes = (
            split(other)[1]
            for other in bundle.into.stems.get(key, ())
            if other not in own and (id(bundle.into), other) not in self.leaving
        )
        return any(ties(suffix) or (tied and is_known(suffix)) for suffix in suffixes)

    def is_same(self, bundle: Bundle, name: str, there: str) -> bool:
        """Whether what lies in the target is what would be put there."""
        source, target = bundle.folder.path / name, bundle.into.path / there
        if bundle.folder is bundle.into and name == there:
            return True
        try:
            if self.action == "copy":
                return target.is_file() and filecmp.cmp(source, target, shallow=False)
            if self.action == "symlink":
                return target.is_symlink() and os.path.realpath(target) == os.path.realpath(source)
            if self.action == "hardlink":
                return not target.is_symlink() and target.samefile(source)
        except OSError:
            pass
        return False
