"""The two classic pictures of parameter updates, from Keras's real optimizers.

Run it with `python examples/classic_pictures.py [directory]`: half a minute. It writes

- `bowl.png`: paths down a badly conditioned bowl. Plain SGD jumps from side to side of
  the valley and creeps along it, momentum and Adam overshoot, Adagrad and RMSprop make
  for the middle;
- `saddle.png`: who leaves a saddle point, and when. Momentum does after a while, the
  adaptive ones hardly notice it, plain SGD sits there;

and both as animations, `bowl.gif` and `saddle.gif`. After Alec Radford's, which the
notes show.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

# Okabe and Ito's colours: the colour-blind can tell them apart.
COLOURS = {
    "SGD": "#000000",
    "momentum": "#E69F00",
    "Nesterov": "#56B4E9",
    "Adagrad": "#009E73",
    "RMSprop": "#D55E00",
    "Adam": "#CC79A7",
}


class Bowl:
    """f(x, y) = x²/2 + 30 y²/2: thirty times as steep across the valley as along it."""

    name = "bowl"
    lowest = 0.0
    title = "A bowl thirty times as steep across as along"
    start = (-9.0, 2.0)
    steps = 80
    limits = ((-10.5, 5.5), (-3.2, 3.2))
    rates = {  # noqa: RUF012
        "SGD": 0.06,
        "momentum": 0.015,
        "Nesterov": 0.015,
        "Adagrad": 1.5,
        "RMSprop": 0.25,
        "Adam": 0.5,
    }

    def value(self, x, y):
        """The function."""
        return 0.5 * x**2 + 15 * y**2

    def gradient(self, x, y):
        """Its gradient."""
        return np.array([x, 30 * y])


class Saddle:
    """f(x, y) = x² − y² + y⁴/8: from nearly on the ridge, down to one of two bowls."""

    name = "saddle"
    lowest = -2.0
    title = "A saddle, started a hair's breadth beside its ridge"
    start = (-1.6, 1e-4)
    steps = 120
    limits = ((-2.0, 1.2), (-2.6, 2.6))
    rates = {  # noqa: RUF012
        "SGD": 0.03,
        "momentum": 0.03,
        "Nesterov": 0.03,
        "Adagrad": 0.2,
        "RMSprop": 0.03,
        "Adam": 0.05,
    }

    def value(self, x, y):
        """The function."""
        return x**2 - y**2 + y**4 / 8

    def gradient(self, x, y):
        """Its gradient."""
        return np.array([2 * x, -2 * y + y**3 / 2])


def optimizers(rates):
    """Returns Keras's six, new."""
    of = keras.optimizers
    return {
        "SGD": of.SGD(rates["SGD"]),
        "momentum": of.SGD(rates["momentum"], momentum=0.9),
        "Nesterov": of.SGD(rates["Nesterov"], momentum=0.9, nesterov=True),
        "Adagrad": of.Adagrad(rates["Adagrad"]),
        "RMSprop": of.RMSprop(rates["RMSprop"]),
        "Adam": of.Adam(rates["Adam"]),
    }


def path(optimizer, surface):
    """Returns where an optimizer goes: float array of shape `(steps + 1, 2)`."""
    variable = keras.Variable(surface.start)
    points = [position(variable)]
    for _ in range(surface.steps):
        gradient = surface.gradient(*points[-1]).astype("float32")
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        points.append(position(variable))
    return np.array(points)


def position(variable):
    """Returns a copy of what a variable holds."""
    return np.array(keras.ops.convert_to_numpy(variable.value))


def draw(surface, paths):
    """Returns a figure and a function that shows it after so many steps."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    above, beside = figure.subplots(1, 2, width_ratios=(3, 2))
    figure.suptitle(surface.title)
    contours(above, surface)
    shown = []
    for name, points in paths.items():
        look = {"color": COLOURS[name], "linewidth": 1.6}
        (line,) = above.plot([], [], ".-", markersize=4, **look)
        (head,) = above.plot([], [], "o", color=COLOURS[name], markeredgecolor="white")
        (curve,) = beside.plot([], [], label=name, **look)
        loss = surface.value(*points.T) - surface.lowest
        shown.append((line, head, curve, points, np.maximum(loss, 1e-9)))
    above.plot(*surface.start, "k*", markersize=11, zorder=5)
    above.set(xlim=surface.limits[0], ylim=surface.limits[1], xlabel="x", ylabel="y")
    beside.set_title("height above the lowest point", fontsize=10)
    beside.set(xlabel="step", xlim=(0, surface.steps), **height(surface, shown))
    beside.grid(alpha=0.3)
    beside.legend(frameon=False)

    def show(step):
        for line, head, curve, points, loss in shown:
            line.set_data(*points[: step + 1].T)
            head.set_data(*points[step : step + 1].T)
            curve.set_data(np.arange(step + 1), loss[: step + 1])

    return figure, show


def contours(axes, surface):
    """Draws lines of equal height."""
    (left, right), (low, high) = surface.limits
    x, y = np.meshgrid(np.linspace(left, right, 300), np.linspace(low, high, 300))
    z = surface.value(x, y)
    if z.min() < 0:
        axes.contour(x, y, z, 30, cmap="Greys_r", linewidths=0.7)
    else:
        levels = np.geomspace(0.05, z.max(), 18)
        norm = LogNorm(levels[0], 10 * levels[-1])
        axes.contour(x, y, z, levels, cmap="Greys_r", norm=norm, linewidths=0.7)


def height(surface, shown):
    """The scale of the curves: logarithmic where all end at the same point."""
    if surface.name == "saddle":
        return {"ylim": (-0.2, max(loss.max() for *_, loss in shown) * 1.05)}
    return {"yscale": "log", "ylim": (1e-6, 300)}


def main(directory):
    """Draws both."""
    directory.mkdir(parents=True, exist_ok=True)
    for surface in (Bowl(), Saddle()):
        paths = {
            name: path(optimizer, surface)
            for name, optimizer in optimizers(surface.rates).items()
        }
        figure, show = draw(surface, paths)
        show(surface.steps)
        figure.savefig(directory / f"{surface.name}.png", dpi=100)
        frames = range(0, surface.steps + 1, 2)
        animation = FuncAnimation(figure, show, frames)
        animation.save(directory / f"{surface.name}.gif", PillowWriter(12), dpi=60)
        print(f"Wrote {directory / surface.name}.png and .gif.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "logs/pictures").resolve())
