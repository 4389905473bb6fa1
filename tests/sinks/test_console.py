"""The console sink: in a terminal, a log file and a notebook."""

import copy
import io
import re
import sys

import pytest
from support import findings as made

from keras_babysit.report import make_report
from keras_babysit.sinks.console import ConsoleSink

NEW = [f for f in made.findings() if not f.because]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def uncoloured(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


class Ascii(io.StringIO):
    encoding = "ascii"

    def write(self, text):
        return super().write(text.encode("ascii").decode())


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def report():
    return make_report(made.history(), made.findings(), made.COST)


def told(monkeypatch, file, findings=NEW, **options):
    monkeypatch.setattr(sys, "stdout", file)
    ConsoleSink().tell(findings, **options)
    return file.getvalue()


def test_one_line_for_each_rule_in_a_log_file(capsys):
    ConsoleSink().tell(NEW, bar=False)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "✖ error   conv2d_0, conv2d_1 and 3 more: 90 % of the units are dead "
        "(conv2d_0). Likely the learning rate is too high: try 1e-4 instead of 1e-3. "
        "(since epoch 2) [dead-relu]",
        "▲ warning x: values from 0 to 255. Likely the learning rate is too high: "
        "try 1e-4 instead of 1e-3. [inputs-not-scaled]",
        "• info    the loss falls linearly. Likely the learning rate is too high: "
        "try 1e-4 instead of 1e-3. (since epoch 5) [loss-linear]",
        "✔ healed  the loss oscillates (since epoch 2, healed at epoch 5) "
        "[loss-oscillates]",
    ]


def test_no_colour_in_a_log_file(capsys, report):
    ConsoleSink().tell(NEW)
    ConsoleSink().summary(report)
    assert "\x1b" not in capsys.readouterr().out


def test_silent(capsys, report):
    sink = ConsoleSink(verbose=0)
    sink.tell(NEW)
    sink.summary(report)
    ConsoleSink().tell([])
    assert capsys.readouterr().out == ""


def test_starts_on_a_fresh_line(monkeypatch, capsys):
    ConsoleSink().tell(NEW)
    assert capsys.readouterr().out.startswith("\n✖")
    assert told(monkeypatch, Terminal()).startswith("\r\x1b[2K")
    assert not told(monkeypatch, Terminal(), bar=False).startswith("\r")
    monkeypatch.setenv("TERM", "dumb")
    assert told(monkeypatch, Terminal()).startswith("\n✖")


def test_a_terminal_has_colour_and_whole_words(monkeypatch):
    out = told(monkeypatch, Terminal(), NEW[:5], bar=False)
    assert "\x1b[1;31m✖ error" in out
    lines = uncoloured(out).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 10) for line in lines[1:])
    words = " ".join(" ".join(lines).split())
    assert words.endswith("try 1e-4 instead of 1e-3. (since epoch 2) [dead-relu]")


def test_an_output_without_our_signs(monkeypatch, report):
    out = told(monkeypatch, Ascii(), [made.finding(seen="‖w‖ is 0")], bar=False)
    assert out.startswith("x error   ?w? is 0. Likely")
    ConsoleSink().summary(report)


def test_markup_and_controls_are_text(capsys):
    ConsoleSink().tell([made.finding(where="[red]a[/red]\x1b[31m\r\nb")], bar=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert "[red]a[/red] [31m  b: 93 %" in line
    assert "\x1b" not in line


def test_a_closed_output_is_no_error(monkeypatch, report):
    file = io.StringIO()
    file.close()
    monkeypatch.setattr(sys, "stdout", file)
    ConsoleSink().tell(NEW)
    monkeypatch.setattr(sys, "stdout", None)
    ConsoleSink().tell(NEW)
    ConsoleSink().summary(report)


def test_summary(capsys, report):
    ConsoleSink().summary(report)
    out = capsys.readouterr().out
    first, *rest = out.splitlines()
    assert first == (
        "✖ digits: 10 epochs, 600 steps, loss 0.25, val_loss 0.5: "
        "1 error, 1 warning, 1 remark."
    )
    assert "Also seen: vanishing-gradient (conv2d_0), loss-flat." in rest[0]
    rows = [line.split() for line in rest]
    assert ["conv2d_1", "Conv2D", "relu", "584", "1e-3", "4.24", "93", "%"] in [
        row[:8] for row in rows
    ]
    assert any(line.startswith("Observed 30 of 600 steps") for line in rest)
    assert rest[-1].startswith("The training data were not seen")


def test_summary_is_short_when_all_is_well(capsys):
    ConsoleSink().summary(make_report(made.history(), (), made.COST))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("✔ digits: 10 epochs, 600 steps, loss 0.25, val_loss 0.5: ")
    assert "nothing wrong found. Observed 30" in line


def test_summary_without_problems_has_no_table(capsys):
    remarks = [f for f in made.findings() if f.severity == "info" or f.healed]
    ConsoleSink().summary(make_report(made.history(), remarks))
    out = capsys.readouterr().out
    assert "nothing wrong found, 1 remark." in out
    assert "healed" in out
    assert "Conv2D" not in out


def test_a_narrow_table_keeps_names_of_rules_whole(monkeypatch, report):
    file = Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    ConsoleSink().summary(report)
    lines = uncoloured(file.getvalue()).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-1:] == ["vanishing-gradient"] for line in lines)
    assert any(line.split()[:2] == ["conv2d_1", "Conv2D"] for line in lines)


def test_survives_deepcopy(capsys):
    copy.deepcopy(ConsoleSink()).tell(NEW)
    assert "dead-relu" in capsys.readouterr().out


def test_between_two_states_of_keras_progress_bar(monkeypatch):
    from keras.utils import Progbar

    file = Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    bar = Progbar(10, interval=0)
    bar.update(3)
    ConsoleSink().tell(NEW[:1])
    bar.update(10)
    # What is left of each line when its last carriage return or erasure has passed.
    shown = [
        line.split("\x1b[2K")[-1].split("\r")[-1].strip("\b")
        for line in uncoloured(file.getvalue()).split("\n")
    ]
    assert shown[0].startswith("✖ error   conv2d_0: 90 %")
    assert "10/10" in shown[-2]
    assert not any("3/10" in line for line in shown)
