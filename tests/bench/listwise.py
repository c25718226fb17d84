"""What orders of many pictures are worth under a model's noise, and how many calls each takes.

For every way of ordering (`tests/simulated_windows.py`): Kendall's tau with the truth, mean and sd
over seeds, the calls, and the steps, that is how often one waits for answers before asking on. All
calls of a step can be one batch. Noise: sd of a picture's own error (the same in every call), of
the offset common to a call, and of what is left; in sd of the true values.

    PYTHONPATH=tests python tests/bench/listwise.py [--seeds 200] [--counts 16 32 64 128 256]
    PYTHONPATH=tests python tests/bench/listwise.py --noise 0.1 0 0.21      # no offsets
    PYTHONPATH=tests python tests/bench/listwise.py --levels                # many noises, n = 128
"""

from __future__ import annotations

import argparse

import numpy as np
from simulated_windows import ORDERS, SPEC, Model, Noise, tau

LEVELS = [
    SPEC,
    Noise(0.0, 0.12, 0.205),  # the same three figures without an error of the picture's own
    Noise(0.0, 0.20, 0.13),  # mostly offset: the most to gain
    Noise(0.10, 0.0, 0.215),  # no offset: means would do
    Noise(0.20, 0.10, 0.10),  # mostly the picture's own: asking again mends little
    Noise(0.30, 0.45, 0.45),  # a model three times as bad
]


def row(name: str, count: int, noise: Noise, seeds: int) -> str:
    models = [Model(count, noise, seed) for seed in range(seeds)]
    taus = np.asarray([tau(model.truth, ORDERS[name](model)) for model in models])
    calls, steps = (np.mean([getattr(m, what) for m in models]) for what in ("calls", "steps"))
    return f" {name:<24} {taus.mean():6.3f} {taus.std(ddof=1):6.3f} {calls:7.0f} {steps:6.0f}"


def table(count: int, noise: Noise, seeds: int) -> None:
    print(f"\nn = {count}, own {noise.own}, offset {noise.offset}, within {noise.within}")
    print(f" {'':<24} {'tau':>6} {'sd':>6} {'calls':>7} {'steps':>6}")
    for name in ORDERS:
        print(row(name, count, noise, seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--noise", type=float, nargs=3, metavar=("OWN", "OFFSET", "WITHIN"))
    parser.add_argument("--levels", action="store_true")
    given = parser.parse_args()
    if given.levels:
        for noise in LEVELS:
            table(128, noise, given.seeds)
        return
    for count in given.counts:
        table(count, Noise(*given.noise) if given.noise else SPEC, given.seeds)


if __name__ == "__main__":
    main()
