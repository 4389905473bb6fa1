"""What judging costs: milliseconds per observed step, for many layers.

python benchmarks/judging.py [--layers 200] [--steps 300]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from keras_babysit import rules
from keras_babysit.history import RunHistory
from keras_babysit.records import (
    EpochRecord,
    LayerStats,
    StepRecord,
    TensorStats,
    VariableStats,
)
from keras_babysit.rules.judge import Judge


def records(layers, steps, rng):
    """Healthy records of a deep network of Dense layers with ReLU."""

    def stats(scale):
        norm = scale * rng.uniform(0.9, 1.1)
        return TensorStats(4096, 0, 0, norm, -norm / 9, norm / 9, 0.0, norm / 64)

    for i in range(steps):
        yield StepRecord(
            step=i,
            epoch=i / 100,
            loss=float(np.exp(-i / 100) + 0.05 * rng.normal()),
            learning_rate=1e-3,
            gradient_norm=1.0,
            variables=tuple(
                VariableStats(
                    f"dense_{k}/kernel",
                    weight=stats(8.0),
                    update=stats(8e-3),
                    gradient=stats(0.1),
                    update_ratio=1e-3 * rng.uniform(0.5, 2),
                )
                for k in range(layers)
            ),
            layers=tuple(
                LayerStats(f"dense_{k}", stats(30.0), 0.5, None, 0.02, 20)
                for k in range(layers)
            ),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    history, judge = RunHistory(), Judge(rules.available().values())
    kept, judged, single = [], [], {}
    for record in records(arguments.layers, arguments.steps, rng):
        began = time.perf_counter()
        history.append(record)
        kept.append(time.perf_counter() - began)
        began = time.perf_counter()
        judge.judge(history, "step")
        judged.append(time.perf_counter() - began)
        for rule in judge.rules:
            if "step" in rule.when:
                began = time.perf_counter()
                rule.signs(history)
                single.setdefault(rule.name, []).append(time.perf_counter() - began)
        if record.step % 100 == 99:
            epoch = EpochRecord(record.step // 100 + 1, record.step, {"loss": 0.5})
            history.append(epoch)
            judge.judge(history, "epoch")
    print(f"{arguments.layers} layers, {arguments.steps} observed steps, medians")
    print(f"  keeping the record  {statistics.median(kept) * 1e3:7.3f} ms")
    print(f"  all rules           {statistics.median(judged) * 1e3:7.3f} ms")
    for name, times in sorted(single.items(), key=lambda t: -statistics.median(t[1])):
        print(f"    {name:26}{statistics.median(times) * 1e3:7.3f} ms")
    print(f"  findings: {sorted({f.rule for f in judge.findings})}")


if __name__ == "__main__":
    main()
