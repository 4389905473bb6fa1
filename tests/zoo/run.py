"""Runs the zoo and prints how the diagnosis does.

```sh
python tests/zoo/run.py --seeds 3
python tests/zoo/run.py --only raw-wines raw-wines/mended --findings
python tests/zoo/run.py --family campaign_series campaign_tables
```
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.pool
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras

from keras_babysit import Babysitter
from keras_babysit.records import Finding
from zoo.cases import FAMILIES, Case, load, named


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one run.

    Attributes:
        findings: all findings, explained and healed ones too.
        logs: Keras's logs of the last epoch.
        raised: the error that ended the training, if one did.
        stepped_aside: warnings that the babysitter stopped watching.
        seconds: processor time that the run took.
        well_trained: whether it reached what a healthy run must; `None` if that is
            not known.
    """

    name: str
    seed: int
    expected: frozenset[str]
    symptoms: frozenset[str]
    findings: tuple[Finding, ...]
    logs: dict[str, float]
    raised: str
    stepped_aside: tuple[str, ...]
    seconds: float
    well_trained: bool | None

    @property
    def told(self) -> tuple[Finding, ...]:
        """The findings that no other explains."""
        return tuple(f for f in self.findings if not f.because)

    @property
    def cause_named(self) -> bool:
        return any(named(f, self.expected) for f in self.told)

    @property
    def symptom_named(self) -> bool:
        return any(named(f, self.expected | self.symptoms) for f in self.told)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Warnings and errors, which a healthy run must not have."""
        return tuple(f for f in self.told if f.severity != "info")


def run(case: Case, seed: int = 0, watched: bool = True) -> Outcome:
    """Trains a case under the default babysitter."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    start = time.process_time()
    logs: dict[str, float] = {}
    raised = ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        babysitter = Babysitter(folder, verbose=0)
        model, arguments = case.make()
        keep = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, new: logs.update(new or {})
        )
        callbacks = [keep, babysitter] if watched else [keep]
        with warnings.catch_warnings(record=True) as own:
            warnings.simplefilter("always")
            try:
                case.fit(model, arguments, *callbacks)
            except Exception as e:
                raised = f"{type(e).__name__}: {str(e).strip().splitlines()[0]}"
        findings = tuple(babysitter.report.findings) if watched else ()
    return Outcome(
        name=case.name,
        seed=seed,
        expected=case.expected,
        symptoms=case.symptoms,
        findings=findings,
        logs={name: float(value) for name, value in logs.items()},
        raised=raised,
        stepped_aside=tuple(
            str(w.message) for w in own if "stopped watching" in str(w.message)
        ),
        seconds=time.process_time() - start,
        well_trained=case.well_trained(logs) if case.reaches and logs else None,
    )


def run_named(name: str, seed: int = 0, watched: bool = True) -> Outcome:
    """Runs a case by its name, as another process can be asked to."""
    return run(load()[name], seed, watched)


def chosen(every: int) -> list[str]:
    """Names of every n-th pair and healthy run, spread over the families.

    Of the campaign, which has no faults and is slow, a third of that if it is a part.
    """
    alone = [case for case in load().values() if not case.name.endswith("/mended")]
    campaign = [c.name for c in alone if c.family.startswith("campaign")]
    others = [c.name for c in alone if not c.family.startswith("campaign")][::every]
    twins = (f"{name}/mended" for name in others)
    twins = [twin for twin in twins if twin in load()]
    return [*others, *twins, *campaign[:: every * min(every, 3)]]


def outcomes(
    names: Iterable[str], seeds: int, jobs: int = 1, watched: bool = True
) -> Iterator[Outcome]:
    """Yields the outcome of each case and seed, in order."""
    tasks = [(name, seed) for seed in range(seeds) for name in names]
    with processes(jobs) as pool:
        yield from pool.imap(_run, [(*task, watched) for task in tasks])


def processes(
    jobs: int, set_up: Callable[[], None] | None = None
) -> multiprocessing.pool.Pool:
    """A pool whose processes end after some runs: Keras's grow with each model.

    Each calls `set_up` before its first run.
    """
    context = multiprocessing.get_context("spawn")
    return context.Pool(jobs, set_up, maxtasksperchild=40)


def _run(task: tuple[str, int, bool]) -> Outcome:
    return run_named(*task)


def row(o: Outcome) -> str:
    """One line of the table."""
    if o.expected:
        verdict = "cause" if o.cause_named else "symptom" if o.symptom_named else "MISS"
    else:
        verdict = "ALARM" if o.alarms else "quiet"
        verdict = verdict if o.well_trained else f"{verdict}, NOT WELL TRAINED"
    mark = {"error": "!", "warning": "", "info": "?"}
    found = dict.fromkeys(
        f"{mark[f.severity]}{f.rule}{' (healed)' if f.healed else ''}" for f in o.told
    )
    logs = {k: v for k, v in o.logs.items() if k != "learning_rate"}
    ends = " ".join(f"{k}={v:.4g}" for k, v in logs.items())
    lines = [
        f"{o.name} [{o.seed}] {o.seconds:.1f} s: {verdict}",
        f"    expected  {', '.join(sorted(o.expected)) or '-'}",
        f"    found     {', '.join(found) or '-'}",
        f"    ends at   {ends or '-'}{'  raised ' + o.raised[:90] if o.raised else ''}",
    ]
    lines += [f"    ASIDE     {w}" for w in o.stepped_aside]
    return "\n".join(lines)


def details(o: Outcome) -> str:
    """All findings of a run, in words."""
    return "\n".join(
        f"      {f.severity} {f.rule}"
        f"{' because ' + f.because if f.because else ''}"
        f"{' healed' if f.healed else ''} (since step {f.since_step}, epoch "
        f"{f.since_epoch:.2f}): {f}"
        for f in o.findings
    )


def totals(done: list[Outcome]) -> str:
    """The last lines of the table."""
    faulty = [o for o in done if o.expected]
    healthy = [o for o in done if not o.expected]

    def share(count: int, among: list[Outcome]) -> str:
        return f"{count}/{len(among)} = {100 * count / max(1, len(among)):.1f} %"

    causes = sum(o.cause_named for o in faulty)
    symptoms = sum(o.symptom_named for o in faulty)
    alarms = sum(bool(o.alarms) for o in healthy)
    return "\n".join(
        [
            f"root cause named: {share(causes, faulty)}",
            f"any symptom named: {share(symptoms, faulty)}",
            f"healthy runs with a warning or an error: {share(alarms, healthy)}",
            f"processor time: {sum(o.seconds for o in done):.0f} s, {len(done)} runs",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--family", nargs="+", metavar="MODULE", choices=FAMILIES)
    parser.add_argument("--every", type=int, default=1, help="run one pair in so many")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="don't watch")
    parser.add_argument("--findings", action="store_true", help="print them in full")
    options = parser.parse_args()
    names = options.only or chosen(options.every)
    if options.family:
        names = [n for n in names if load()[n].family in options.family]
    done = []
    for outcome in outcomes(names, options.seeds, options.jobs, not options.plain):
        done.append(outcome)
        print(row(outcome), flush=True)
        wrong = not outcome.cause_named if outcome.expected else outcome.alarms
        if outcome.findings and (options.findings or wrong):
            print(details(outcome), flush=True)
    print(totals(done))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
