"""Learning-rate curves that Keras lacks, and that compose with Keras's own.

A schedule goes into any optimizer, is saved with the model, and is a pure function of
the step. Its lengths are in epochs or in steps, by keyword, never by guess:

```python
from keras_babysit import schedules

rate = schedules.WarmUp(
    schedules.StepDecay(0.1, factor=0.5, epochs=30), epochs=5, steps_per_epoch=500
)
model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
schedules.plot(rate, epochs=100, path="rate.png")
```

A saved model with such a schedule needs `import keras_babysit.schedules` before it is
loaded; where Keras has the same curve, `schedule.to_keras()` returns Keras's own
object, which needs nothing.
"""

from keras_babysit.errors import importing_keras

with importing_keras():
    from keras_babysit.schedules.composed import Chain, WarmUp
    from keras_babysit.schedules.cycles import CosineCycles, OneCycle
    from keras_babysit.schedules.decays import (
        Constant,
        ExponentialDecay,
        InverseTimeDecay,
        StepDecay,
    )
    from keras_babysit.schedules.figure import plot
    from keras_babysit.schedules.schedule import Schedule

__all__ = [
    "Chain",
    "Constant",
    "CosineCycles",
    "ExponentialDecay",
    "InverseTimeDecay",
    "OneCycle",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "plot",
]
