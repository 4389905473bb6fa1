"""Choices combined so that every two of them meet in some combination."""

import itertools


def pairwise(choices, seed=0, tries=30):
    """Returns combinations in which each pair of choices of two factors occurs.

    Args:
        choices: factor to its choices.
        seed: of the order in which candidates are tried.
        tries: how many candidates each combination is the best of.
    """
    import random

    rng = random.Random(seed)
    names = list(choices)
    missing = {
        frozenset([(a, x), (b, y)])
        for a, b in itertools.combinations(names, 2)
        for x in choices[a]
        for y in choices[b]
    }
    found = []
    while missing:
        # One pair that is missing is given; the rest is the best of a few draws.
        given = dict(min(missing, key=lambda pair: sorted(map(str, pair))))
        candidates = [
            {n: given.get(n, rng.choice(list(choices[n]))) for n in names}
            for _ in range(tries)
        ]
        best = max(candidates, key=lambda c: len(pairs_of(c) & missing))
        missing -= pairs_of(best)
        found.append(best)
    return found


def pairs_of(combination):
    """All pairs of choices in a combination."""
    items = combination.items()
    return {frozenset(pair) for pair in itertools.combinations(items, 2)}
