"""Runs Keras's own tests with a `Babysitter` added to every `fit`.

Not a part of this project's tests: it needs a checkout of Keras, of the version that is
installed. Every test that passes without must pass with it, and none may make it step
aside.

    python tests/peer/run.py PATH_OF_A_KERAS_CHECKOUT [TEST_FILE ...]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

#: Test files, below the checkout, that train with `fit`.
FILES = (
    "keras/src/trainers/trainer_test.py",
    "keras/src/callbacks",
    "keras/src/models/model_test.py",
    "keras/src/models/sequential_test.py",
    "keras/src/models/functional_test.py",
)
PLUGIN = """
import atexit, os, sys, tempfile, types, warnings
import keras, keras_babysit

# Keras's tests import it, also where they test another backend.
sys.modules.setdefault("jax", types.ModuleType("jax"))
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as Trainer

original, seen = Trainer.fit, []

def fit(self, *args, callbacks=None, **kwargs):
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return original(self, *args, callbacks=callbacks, **kwargs)
    given = [] if callbacks is None else callbacks
    given = list(given) if isinstance(given, (list, tuple)) else [given]
    ours = keras_babysit.Babysitter(tempfile.mkdtemp(), verbose=0)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return original(self, *args, callbacks=[ours, *given], **kwargs)
    finally:
        said = [str(w.message) for w in caught]
        aside = [line for line in said if "stopped watching" in line]
        cost = ours.observation
        unseen = cost.unobserved if cost else ()
        seen.append((cost.observed if cost else 0, aside, unseen))
        for w in caught:  # Which the tests may look for.
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)

if os.environ["BABYSIT"] == "1":
    Trainer.fit = fit

@atexit.register
def tell():
    print(f"\\nbabysitter: {len(seen)} fits, {sum(s[0] > 0 for s in seen)} observed, "
          f"{sum(bool(s[1]) for s in seen)} stepped aside")
    for line in sorted({line for s in seen for line in (*s[1], *s[2])}):
        print("babysitter:", line[:300])
"""


def run(checkout: Path, files: list[str], watched: bool) -> tuple[dict[str, str], str]:
    """Runs test files; returns each test's outcome, and what was printed."""
    plugin = Path(tempfile.mkdtemp()) / "babysit_every_fit.py"
    plugin.write_text(PLUGIN)
    ours = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "BABYSIT": str(int(watched)),
        "PYTHONPATH": os.pathsep.join([str(checkout), ours, str(plugin.parent)]),
    }
    command = [sys.executable, "-u", "-m", "pytest", "-rA", "-q", "--tb=line", *files]
    command += ["-p", "no:cacheprovider", "-o", "filterwarnings="]
    command += ["-p", "babysit_every_fit"]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", done.stdout, re.M)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return {test: outcome for outcome, test in found}, done.stdout


def main() -> int:
    """Prints the tests whose outcomes differ; returns how many there are."""
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    checkout, files = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(FILES)
    plain, _ = run(checkout, files, watched=False)
    watched, printed = run(checkout, files, watched=True)
    passed = [test for test, outcome in plain.items() if outcome == "PASSED"]
    broken = [test for test in passed if watched.get(test) != "PASSED"]
    print(f"{len(plain)} tests, {len(passed)} pass without, {len(broken)} of them fail")
    for test in broken:
        print("fails with a Babysitter:", test)
    print("\n".join(re.findall(r"^babysitter: .*$", printed, re.M)))
    return len(broken)


if __name__ == "__main__":
    sys.exit(main())
