"""Tries fixes on faulty programs of the zoo, and the same changes on their twins.

A change that helps the twin, which has no fault, is a false claim.

```sh
python benchmarks/fixes.py            # all programs with a mechanical fix: hours
python benchmarks/fixes.py raw-wines zero-weights --seeds 3
```
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import keras
from zoo.cases import load

import keras_babysit


def tried(case, seed, seconds, **arguments):
    """Returns what came of trying fixes on a case."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, given = case.make()
        return keras_babysit.try_fixes(
            model,
            given["x"],
            given.get("y"),
            given.get("sample_weight"),
            batch_size=given.get("batch_size") or 32,
            shuffle=given.get("shuffle", True),
            seconds=seconds,
            verbose=0,
            **arguments,
        )


def main():
    """Prints a line for each program, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    cases = load()
    names = asked.names or [n for n, case in cases.items() if case.faulty]
    helped, tries, claims, spent, untried = 0, 0, [], [], 0
    for name in names:
        for seed in range(asked.seeds):
            began = time.process_time()
            found = tried(cases[name], seed, asked.seconds)
            spent.append(time.process_time() - began)
            untried += not found.trials
            helped += found.best is not None
            print(f"{name} {seed}: {spent[-1]:.1f} s. {found.summary}", flush=True)
            changes = [t.fixes[0] for t in found.trials if len(t.fixes) == 1]
            twin = cases.get(f"{name}/mended")
            if not changes or twin is None:
                continue
            again = tried(twin, seed, asked.seconds, findings=(), fixes=changes)
            tries += len(again.trials)
            false = [t.words for t in again.trials if t.verdict == "better"]
            claims += [f"{name} {seed}: {words}" for words in false]
    print(
        f"\n{len(spent)} runs, {helped} helped, {untried} without anything to try; "
        f"{tries} changes of healthy twins, {len(claims)} said to help: {claims}; "
        f"processor seconds: median {statistics.median(spent):.1f}"
    )


if __name__ == "__main__":
    main()
