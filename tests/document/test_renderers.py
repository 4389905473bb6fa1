"""One document, in every format: what is there, what is escaped, what is left out."""

import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from keras_babysit.document import (
    Code,
    Column,
    Details,
    FindingCard,
    Heading,
    Row,
    Shown,
    Span,
    Table,
    Text,
    console,
    html,
    markdown,
)
from keras_babysit.document.blocks import Items, figures_in
from keras_babysit.document.plots import (
    Axes,
    Band,
    Drawing,
    Figure,
    Line,
    Reference,
)

HOSTILE = "<script>alert(1)</script>\x1b[31m\r\n|*_`x`&\"'"

CARD = FindingCard(
    "error",
    "error",
    "dense_1: 93 % of the units are dead",
    "Likely the rate is too high: try `Adam(1e-4)`.",
    "since epoch 2",
    "dead-relu",
    "Also seen: vanishing-gradient (dense)",
    more=(Text("If that does not help:"), Items(("use `LeakyReLU`",))),
)
OVER = FindingCard("healed", "good", "the loss oscillates", rule="loss-up", over=True)
TABLE = Table(
    (
        Column("layer"),
        Column("kind", rank=1),
        Column("gradient norm", number=True, rank=2),
        Column("share", bar=True),
        Column("findings", wide=True),
    ),
    (
        Row(("conv2d", "Conv2D relu", "3.2", "0.5", "dead-relu, vanishing-gradient")),
        Row(("a_dense_layer_of_some_length", "Dense", "1e-3", "1", ""), rule=True),
    ),
    "and 3 more layers",
)
FIGURE = Figure(
    "Loss against epochs",
    (
        Axes(
            (
                Line(np.arange(3), np.array([3.0, 2.0, 1.0]), "loss", marker="o"),
                Line(np.arange(3), np.ones(3), "mean", error=np.full(3, 0.1)),
                Reference(1.5, label="healthy"),
                Reference(1.0, "x"),
                Band(0.5, 1.5, "range"),
                Drawing(lambda axes: axes.text(0, 1, "drawn")),
            ),
            title="Loss",
            x_label="epoch",
            y_scale="log",
            y_limits=(0.5, None),
        ),
        Axes((Line(np.arange(2), np.arange(2.0)),), x_limits=(0, 1)),
    ),
    caption="Lower is better.",
    legend="below",
    share_y=True,
)


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Shown):
    name: str = "digits"
    value: float = float("nan")
    drawn: bool = True

    def content(self):
        return [
            Heading((Span(f"{self.name}: "), Span("1 error.", "error")), tone="error"),
            CARD,
            OVER,
            Heading("Layers", 2),
            TABLE,
            *([FIGURE] if self.drawn else []),
            Details("All trials", (Table.of(("trial", "score"), [("1", "0.5")]),)),
            Text("Observed 6 of 12 steps.", "faint"),
        ]


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


CONSOLE = {
    45: """\
✖ digits: 1 error.
✖ error   dense_1: 93 % of the units are
          dead. Likely the rate is too high:
          try `Adam(1e-4)`. (since epoch 2)
          [dead-relu] Also seen:
          vanishing-gradient (dense).
✔ healed  the loss oscillates [loss-up]

Layers

conv2d
  kind: Conv2D relu, gradient norm: 3.2
  dead-relu, vanishing-gradient
a_dense_layer_of_some_length
  kind: Dense, gradient norm: 1e-3

and 3 more layers
Observed 6 of 12 steps.""",
    80: """\
✖ digits: 1 error.
✖ error   dense_1: 93 % of the units are dead. Likely the rate is too high: try
          `Adam(1e-4)`. (since epoch 2) [dead-relu] Also seen:
          vanishing-gradient (dense).
✔ healed  the loss oscillates [loss-up]

Layers

                                            gradient
 layer                         kind             norm  findings
 ──────────────────────────────────────────────────────────────────────────────
 conv2d                        Conv2D relu       3.2  dead-relu,
                                                      vanishing-gradient

 a_dense_layer_of_some_length  Dense            1e-3

and 3 more layers
Observed 6 of 12 steps.""",
}


@pytest.mark.parametrize("width", CONSOLE)
def test_console(width):
    assert console.text(Result().content(), width) == CONSOLE[width]


def test_console_with_room_for_all():
    text = console.text(Result().content(), 120)
    assert max(map(len, text.splitlines())) <= 120
    assert "gradient" in text
    assert "3.2" in text
    assert "1e-3" in text
    assert "0.5" not in text  # Bars and what is folded away.
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [41, 45, 60, 80, 100, 120])
def test_no_line_is_longer_than_the_console(width):
    lines = console.text(Result().content(), width).splitlines()
    assert max(map(len, lines)) <= width


def test_without_wrapping_a_finding_is_a_line():
    import io

    from rich.console import Console

    file = io.StringIO()
    console.write(Console(file=file, width=40), [CARD, OVER], wrap=False)
    first, second = file.getvalue().splitlines()
    assert first.startswith("✖ error   dense_1: 93 %")
    assert first.endswith("Also seen: vanishing-gradient (dense).")
    assert second.startswith("✔ healed  the loss")


def test_markdown():
    assert markdown.text(Result().content()).splitlines() == [
        "## digits: 1 error.",
        "",
        "* **error** dense\\_1: 93 % of the units are dead. Likely the rate is too "
        "high: try `Adam(1e-4)`. (since epoch 2) \\[dead-relu\\]  ",
        "    Also seen: vanishing-gradient (dense).",
        "* **healed** the loss oscillates \\[loss-up\\]",
        "",
        "### Layers",
        "",
        "| layer | kind | gradient norm | findings |",
        "| --- | --- | ---: | --- |",
        "| conv2d | Conv2D relu | 3.2 | dead-relu, vanishing-gradient |",
        "| a\\_dense\\_layer\\_of\\_some\\_length | Dense | 1e-3 |  |",
        "",
        "and 3 more layers",
        "",
        "*Loss against epochs*",
        "",
        "### All trials",
        "",
        "| trial | score |",
        "| --- | --- |",
        "| 1 | 0.5 |",
        "",
        "Observed 6 of 12 steps.",
    ]


class Page(HTMLParser):
    """Fails on tags that do not match, and collects what is there."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += " ".join(data.split()) + " "


def test_html():
    page = Page(Result()._repr_html_())
    assert "dense_1: 93 % of the units are dead. (since" in page.text
    assert "✖ digits: 1 error." in page.text
    assert page.tags.count("table") == 2
    assert page.tags.count("details") == 2
    assert page.tags.count("code") == 2
    assert "`" not in page.text
    assert ("alt", "Loss against epochs") in page.attributes
    assert ("style", "width:50.0%") in page.attributes
    assert "Lower is better." in page.text
    (image,) = [v for k, v in page.attributes if k == "src"]
    assert image.startswith("data:image/svg+xml;base64,")


def test_a_page_is_self_contained():
    text = html.page(Result().content(), "a <title>")
    page = Page(text)
    assert page.tags[:2] == ["html", "head"]
    assert "a <title>" in page.text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert text == html.page(Result().content(), "a <title>")


def hostile():
    card = FindingCard(HOSTILE, "error", *[HOSTILE] * 5, more=(Items((HOSTILE,)),))
    table = Table((Column(HOSTILE), Column("b")), (Row((HOSTILE, "")),), HOSTILE)
    details = Details(HOSTILE, (Text(HOSTILE),))
    return [Heading(HOSTILE), Text(HOSTILE), card, table, Items((HOSTILE,)), details]


def test_hostile_text_is_text():
    page = Page(html.page(hostile(), HOSTILE))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    text = console.text(hostile(), 80)
    assert "\x1b" not in text + page.text
    lines = markdown.text(hostile()).splitlines()
    assert not any("<" in line for line in lines)
    assert any(line.startswith("| &lt;script") for line in lines)


def test_code_keeps_its_lines():
    code = Code("model.compile(\n    loss='mse',\n)  # <b>\x1b```")
    assert console.text([code], 10).splitlines() == [
        "    model.compile(",
        "        loss='mse',",
        "    )  # <b> ```",
    ]
    assert markdown.text([code]).splitlines() == [
        "```python",
        "model.compile(",
        "    loss='mse',",
        ")  # <b> ",
        "```",
    ]
    page = html.page([code], "a title")
    assert (
        "<pre><code>model.compile(\n    loss=&#39;mse&#39;,\n)  # &lt;b&gt; ```" in page
    )


def test_print_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "45")
    assert str(Result()) == CONSOLE[45]
    monkeypatch.setenv("COLUMNS", "500")
    assert max(map(len, str(Result()).splitlines())) <= 100


def test_rich_shows_it():
    import io

    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=80, force_terminal=True).print(Result())
    assert "\x1b[1;31m✖ " in file.getvalue()
    assert "dead-relu" in file.getvalue()


def test_to_dict():
    assert Result().to_dict() == {"name": "digits", "value": "nan", "drawn": True}
    nested = dataclasses.make_dataclass("N", ["a", "b"])(np.arange(2), {1: (Result(),)})
    from keras_babysit.document.values import plain

    assert plain(nested)["b"]["1"][0]["name"] == "digits"


def test_to_json():
    assert json.loads(Result().to_json()) == Result().to_dict()
    assert "\n" not in Result().to_json(indent=None)


def test_save(tmp_path):
    result = Result()
    assert result.save(tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert "<title>digits: 1 error.</title>" in (tmp_path / "a.html").read_text()
    assert result.save(tmp_path / "a.md").read_text().startswith("## digits")
    assert result.save(str(tmp_path / "a.txt")).read_text().startswith("✖ digits")
    assert json.loads(result.save(tmp_path / "a.json").read_text())["value"] == "nan"
    assert result.save(tmp_path / "a.PNG").read_bytes()[1:4] == b"PNG"
    with pytest.raises(ValueError, match=r"one of .*\.html.* Received: path='a\.doc'"):
        result.save("a.doc")


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw in Result"):
        Result(drawn=False).plot()
    assert not list(figures_in(Result(drawn=False).content()))


def test_figures_have_their_marks():
    drawn = Result().plot()
    first, second = drawn.axes
    assert (first.get_title(), first.get_xlabel()) == ("Loss", "epoch")
    assert first.get_yscale() == "log"
    assert first.get_ylim()[0] == 0.5
    assert second.get_xlim() == (0, 1)
    np.testing.assert_array_equal(first.lines[0].get_ydata(), [3, 2, 1])
    assert [t.get_text() for t in first.texts] == ["drawn"]
    (legend,) = drawn.legends
    named = {text.get_text() for text in legend.get_texts()}
    assert named == {"loss", "mean", "healthy", "range"}
    assert second.get_shared_y_axes().joined(first, second)


def test_pictures_below_each_other():
    @dataclasses.dataclass(frozen=True)
    class Two(Shown):
        def content(self):
            return [FIGURE, Details("more", (FIGURE,))]

    assert len(Two().plot().axes) == 4


def test_a_page_without_matplotlib(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = Page(html.fragment([FIGURE]))
    assert "No picture: " in page.text
    assert "img" not in page.tags
