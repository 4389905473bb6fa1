"""The page in headless Chromium, as a file and as the tab of a running TensorBoard."""

import os
import re

import keras
import numpy as np
import pytest
from support import browser, models
from support import findings as made
from support.browser import wait_for

from keras_babysit import Babysitter
from keras_babysit.event_files.reader import read_report
from keras_babysit.records import EpochRecord
from keras_babysit.report import make_report
from keras_babysit.report.report import html
from keras_babysit.sinks.tensorboard import TensorBoardSink

if browser.CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("CI has to have chromium; `make test` installs it", pytrace=False)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium"),
]

HOSTILE = "<img src=x onerror=alert(1)>"
#: The document that the page is in: this one, or that of the tab's frame.
DOCUMENT = """
(() => {
  const find = (node) => {
    if (node.localName === 'iframe') return node;
    for (const child of [node.shadowRoot, ...node.childNodes].filter(Boolean)) {
      const found = find(child);
      if (found) return found;
    }
  };
  window.doc = find(document)?.contentDocument ?? document;
  return doc.querySelector('.babysit-page')?.dataset.ready === 'true';
})()
"""
#: ECharts as the page has imported it.
CHARTS = """
(() => {
  const from = doc.defaultView;
  if (window.charts) return true;
  const code = doc.createElement('script');
  code.type = 'module';
  const name = from.location.protocol === 'file:' ? 'babysit/echarts.js'
    : '/data/plugin/keras_babysit/static/echarts.js';
  from.eval(`import("${name}").then((m) => { window.top.charts = m; })`);
  return false;
})()
"""
#: How many of the elements of a selector have a chart.
DRAWN = (
    "[...doc.querySelectorAll('{}')].filter((e) => charts.getInstanceByDom(e)).length"
)
MAP = "charts.getInstanceByDom(doc.querySelector('.map')).getOption()"


def write(folder, steps=5):
    """A run with findings of all kinds, and a layer whose name is hostile."""
    model = made.facts(4, prefix=HOSTILE)
    history = made.history(model, steps=())
    history.ended = False
    sink = TensorBoardSink(folder)
    for step in range(steps):
        record = made.step_record(model, step, 1e-3 * (1 + step))
        history.append(record)
        sink.emit(record)
    record = EpochRecord(1, steps, logs={"loss": 1.0})
    history.append(record)
    sink.emit(record)
    found = [made.finding("dead-relu", f"{HOSTILE}1", seen=HOSTILE), *made.findings()]
    sink.emit_findings(found, steps)
    sink.emit_run(make_report(history, found), steps)
    return sink


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    write(path / "made").close()
    model, (x, y) = models.cnn()
    models.compile_model(model, jit_compile=False, metrics=["accuracy"])
    model.fit(
        x,
        y,
        epochs=3,
        verbose=0,
        validation_split=0.2,
        callbacks=[Babysitter(path / "real", every=1)],
    )
    keras.backend.clear_session()
    names = ["made", "real"]
    reports = [(name, read_report(path / name, pictures=True)) for name in names]
    (path / "report.html").write_text(html(reports))
    return path


@pytest.fixture(scope="module")
def tensorboard(logs):
    with browser.tensorboard(logs, "--reload_interval", "1") as address:
        wait_for(lambda: len(runs(address)) == 2)
        yield address


def runs(address):
    return browser.get(f"{address}/data/plugin/keras_babysit/runs")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as b:
        yield b


@pytest.fixture(params=["file", "tab"])
def page(request, logs, chromium):
    """The page with the trained run chosen, in either host."""
    if request.param == "file":
        chromium.open(f"file://{logs}/report.html")
    else:
        address = request.getfixturevalue("tensorboard")
        chromium.open(f"{address}/#keras_babysit")
    wait_for(lambda: chromium.run(DOCUMENT), 120)
    wait_for(lambda: chromium.run(CHARTS), 60)
    choose(chromium, "real")
    return chromium


def choose(page, name):
    item = (
        f"[...doc.querySelectorAll('nav li')].find((i) => i.dataset.run === '{name}')"
    )
    page.run(f"{item}.click()")
    wait_for(lambda: name in page.run("doc.querySelector('h1').textContent"), 60)
    wait_for(lambda: page.run("!!doc.querySelector('.map canvas')"), 60)


def pick(page, label, value):
    page.run(
        "(() => { const s = [...doc.querySelectorAll('label')]"
        f".find((l) => l.textContent.startsWith('{label}')).querySelector('select');"
        f"s.value = '{value}'; s.dispatchEvent(new Event('change')); }})()"
    )


def press(page, *keys):
    for key in keys:
        event = f"new KeyboardEvent('keydown', {{key: '{key}'}})"
        page.run(f"doc.querySelector('.map').dispatchEvent({event})")


def test_verdict_findings_and_tables(page, logs):
    report = read_report(logs / "real")
    text = page.run("doc.querySelector('main').textContent")
    for group in report.groups:
        assert group.rule in text
        assert group.card.seen.replace("`", "") in text
    assert report.cost_line in text
    listed = page.run("doc.querySelector('nav').textContent")
    assert report.verdict in listed


def test_map_has_a_row_for_each_kernel_in_the_networks_order(page, logs):
    course = read_report(logs / "real").course
    window = course.maps["update_ratio"]
    kernels = [place for place in window.places if place.endswith("kernel")]
    option = f"{MAP}.series[0].data.length"
    assert page.run(option) == len(kernels) * len(window.steps)
    press(page, *["ArrowUp"] * 20, *["ArrowLeft"] * 200)
    for kernel in kernels:
        assert kernel in page.run("doc.querySelector('.tip').textContent")
        press(page, "ArrowDown")
    page.run("doc.querySelector('input[type=checkbox]').click()")
    wait_for(lambda: page.run(option) == len(window.places) * len(window.steps), 60)


def test_tooltips_say_what_was_logged(page, logs):
    course = read_report(logs / "real").course
    for quantity in ("update_ratio", "gradient.norm", "activation.std"):
        pick(page, "Show", quantity)
        window = course.maps[quantity]
        kernels = [i for i, p in enumerate(window.places) if p.endswith("kernel")]
        rows = kernels or range(len(window.places))
        wait_for(lambda: page.run("!!doc.querySelector('.map canvas')"), 60)
        press(page, *["ArrowUp"] * 20, "ArrowDown", *["ArrowLeft"] * 200, "ArrowRight")
        tip = page.run("doc.querySelector('.tip').textContent")
        shown = float(re.search(r": (-?[\d.]+(e-?\d+)?)", tip).group(1))
        np.testing.assert_allclose(shown, window.values[1, rows[1]], rtol=0.06)
        assert f"step {window.steps[1]:.0f}" in tip


def test_a_layer_opens_and_closes(page, logs):
    report = read_report(logs / "real", pictures=True)
    press(page, *["ArrowUp"] * 20, "Enter")
    first = next(layer for layer in report.layers if layer.kernels)
    opened = "doc.querySelector('.layer').textContent"
    wait_for(lambda: first.path in page.run(opened), 60)
    own = [path for _, path in report.course.histograms if first.holds(path)]
    drawn = f"{DRAWN.format('.layer .charts:last-child .chart')}"
    wait_for(lambda: page.run(drawn) == len(own), 60)
    page.run("doc.querySelector('.close').click()")
    assert page.run("doc.querySelector('.layer').hidden")


def test_curves_have_the_logs(page, logs):
    logs_of = read_report(logs / "real").course.curves
    found = page.run(
        "[...doc.querySelectorAll('section.charts .chart')]"
        ".map((c) => charts.getInstanceByDom(c).getOption())"
        ".map((o) => [o.title[0].text, o.series.map((s) => [s.name, s.data])])"
    )
    by_title = {title: dict(series) for title, series in found}
    expected = logs_of["epoch.val_loss"]
    drawn = np.array(by_title["loss"]["validation"])
    np.testing.assert_allclose(drawn[:, 0], expected.epochs)
    np.testing.assert_allclose(drawn[:, 1], expected.values, rtol=1e-4)
    assert "learning rate" in by_title


def test_pictures_over_the_epochs(page):
    source = "doc.querySelector('figure img').src.length"
    wait_for(lambda: page.run(source), 60)
    before = page.run("doc.querySelector('figure img').src")
    page.run(
        "(() => { const s = doc.querySelector('figure input'); s.value = 0;"
        "s.dispatchEvent(new Event('input')); })()"
    )
    assert page.run("doc.querySelector('figure img').src") != before
    assert page.run("doc.querySelector('figure output').textContent") == " epoch 0"


def test_two_runs_beside_each_other(page):
    pick(page, "Beside it", "made")
    wait_for(lambda: page.run(DRAWN.format(".map")) == 2, 60)
    colours = page.run(
        "[...doc.querySelectorAll('.map')].map((m) => charts.getInstanceByDom(m)"
        ".getOption().visualMap[0]).map((v) => [v.min, v.max])"
    )
    assert colours[0] == colours[1]
    curves = page.run(
        "charts.getInstanceByDom(doc.querySelector('section.charts .chart'))"
        ".getOption().series.map((s) => s.name)"
    )
    assert {"real: train", "made: train"} <= set(curves)
    pick(page, "Beside it", "")


def test_names_are_text_and_findings_are_marked(page):
    choose(page, "made")
    assert HOSTILE in page.run("doc.querySelector('.findings').textContent")
    press(page, *["ArrowUp"] * 20, "ArrowDown")
    tip = page.run("doc.querySelector('.tip').textContent")
    assert f"{HOSTILE}1/kernel" in tip
    assert "dead-relu" in tip
    assert page.run("doc.querySelectorAll('img[src=x]').length") == 0
    # The layer's finding; those about layers that this model lacks have no row.
    marks = page.run(f"{MAP}.series[1].data.map((mark) => mark.value)")
    assert marks == [[0, 1]]


def test_the_tab_follows_a_training(tensorboard, logs, chromium):
    sink = write(logs / "running", steps=3)
    sink.flush(wait=True)
    try:
        wait_for(lambda: len(runs(tensorboard)) == 3, 120)
        chromium.open(f"{tensorboard}/#keras_babysit")
        wait_for(lambda: chromium.run(DOCUMENT), 120)
        wait_for(lambda: chromium.run(CHARTS), 60)
        choose(chromium, "running")
        cells = f"{MAP}.series[0].data.length"
        before = chromium.run(cells)
        model = made.facts(4, prefix=HOSTILE)
        for step in range(3, 6):
            sink.emit(made.step_record(model, step, 1e-3))
        sink.flush(wait=True)
        wait_for(lambda: (chromium.run(cells) or 0) == 2 * before, 120)
    finally:
        sink.close()
