"""A running TensorBoard, seen in headless Chromium: nothing on it is empty."""

import os
import urllib.parse

import keras
import pytest
from support import browser, models
from support.browser import get, wait_for

from keras_babysit import Babysitter

if browser.CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("CI has to have chromium; `make test` installs it", pytrace=False)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium"),
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("browser")
    model, (x, y) = models.cnn()
    models.compile_model(model, jit_compile=False, metrics=["accuracy"])
    model.fit(
        x,
        y,
        epochs=3,
        verbose=0,
        validation_split=0.2,
        callbacks=[Babysitter(path, every=1)],
    )
    keras.backend.clear_session()
    return path


@pytest.fixture(scope="module")
def tensorboard(logs):
    with browser.tensorboard(logs) as address:
        wait_for(lambda: get(f"{address}/data/runs") == ["train", "validation"])
        yield address


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as b:
        yield b


@pytest.mark.parametrize(
    ("tab", "words", "elements"),
    [
        (
            "timeseries",
            ["gradient_norm", "lowest", "worst_dead_fraction", "epoch_loss"],
            ["card-view"],
        ),
        ("scalars", ["update_ratio_log10/lowest", "epoch_loss"], ["vz-line-chart2"]),
        ("images", ["first_layer"], ["drawn"]),
        (
            "histograms",
            ["layer_gradients", "layer_activations"],
            ["vz-histogram-timeseries"],
        ),
        (
            "custom_scalars",
            ["Training", "Update ratio of each kernel"],
            ["tf-line-chart-data-loader"],
        ),
        ("text", ["observation", "Observed"], ["tf-text-loader"]),
    ],
)
def test_tab_is_not_empty(tensorboard, page, tab, words, elements):
    page.open(f"{tensorboard}/#{tab}")

    def shown():
        seen = page.look()
        return all(w in seen["text"] for w in words) and all(
            seen["elements"].get(e) for e in elements
        )

    try:
        wait_for(shown, 60)
    except TimeoutError:
        seen = page.look()
        missing = [w for w in words if w not in seen["text"]]
        missing += [e for e in elements if not seen["elements"].get(e)]
        pytest.fail(f"not on the {tab} tab: {missing}; {sorted(seen['elements'])}")


def test_data_behind_the_charts(tensorboard):
    quote = urllib.parse.quote
    layout = get(f"{tensorboard}/data/plugin/custom_scalars/layout")
    charts = [c for group in layout["category"] for c in group["chart"]]
    assert len(charts) == 7
    for chart in charts:
        for expression in chart["multiline"]["tag"]:
            found = {}
            for run in ("train", "validation"):
                query = f"tag={quote(expression)}&run={run}"
                url = f"{tensorboard}/data/plugin/custom_scalars/scalars?{query}"
                answer = get(url)
                assert answer["regex_valid"]
                found |= answer["tag_to_events"]
            assert found, (chart["title"], expression)
            assert all(found.values())
    tags = get(f"{tensorboard}/data/plugin/images/tags")["train"]
    assert tags
    tags = get(f"{tensorboard}/data/plugin/histograms/tags")["train"]
    for tag in tags:
        query = f"tag={quote(tag)}&run=train"
        assert get(f"{tensorboard}/data/plugin/histograms/histograms?{query}")
