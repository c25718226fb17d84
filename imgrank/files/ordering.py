"""Bundles in an order of doing in which each name is free when its turn comes.

A bundle that is to have the name of another one waits for that one to move away. Bundles that wait
for each other (a swap of names) are done together: all of them or none, by way of names in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgrank.files.bundles import Bundle
from imgrank.files.naming import clash_key

__all__ = ["in_order"]


def in_order(bundles: Sequence[Bundle]) -> list[list[Bundle]]:
    """Those that move, each with the ones that it can only be done together with."""
    holders: dict[tuple[int, str], list[int]] = {}
    for place, bundle in enumerate(bundles):
        for name in bundle.targets.keys() - bundle.there:
            holders.setdefault((id(bundle.folder), clash_key(name)), []).append(place)
    awaited: dict[int, list[int]] = {}
    for place, bundle in enumerate(bundles):
        wanted = [t for name, t in bundle.targets.items() if name not in bundle.there]
        found = {
            other
            for target in wanted
            for other in holders.get((id(bundle.into), clash_key(target)), ())
        }
        awaited[place] = sorted(found - {place})
    return [[bundles[place] for place in sorted(some)] for some in _components(awaited)]


def _components(after: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Strongly connected components, each after those that it leads to.

    Tarjan, Depth-first search and linear graph algorithms, 1972; without recursion, since a chain
    of renames may be as long as the folder is large.
    """
    found: list[list[int]] = []
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    open_: list[int] = []
    closed: set[int] = set()
    for root in after:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        open_.append(root)
        path = [(root, iter(after[root]))]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    some = [open_.pop()]
                    while some[-1] != node:
                        some.append(open_.pop())
                    found.append(some)
                    closed.update(some)
            elif following not in index:
                index[following] = low[following] = len(index)
                open_.append(following)
                path.append((following, iter(after[following])))
            elif following not in closed:
                low[node] = min(low[node], index[following])
    return found
