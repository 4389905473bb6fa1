"""The habits that all results share: one `content()`, shown everywhere alike."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_babysit.document.blocks import Block, Text, figures_in, plain
from keras_babysit.document.values import plain as plain_values

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Columns of text at most, and where there is no terminal.
WIDTH = 100
#: Columns of text at least, however narrow the terminal.
_NARROWEST = 40
#: Formats of pictures that `save` writes.
_PICTURES = (".png", ".svg", ".pdf")


class Shown:
    """A result that shows itself: subclasses are frozen values with a `content()`.

    `print(result)` gives text, rich a coloured one, a notebook HTML; `save` writes
    any of them to a file, and `plot` draws its pictures.

    Example:
    ```python
    print(result)
    result.save("result.html")  # or .md, .txt, .json
    result.to_dict()
    ```
    """

    def content(self) -> list[Block]:
        """Returns what there is to show, as blocks from the top.

        Blocks of text say everything; what is folded away in a page
        (`document.Details`, `FindingCard.more`) is left out in consoles.
        """
        raise TypeError(f"{type(self).__name__} has no content()")

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain values that JSON can hold; NaN as the string `"nan"`."""
        return plain_values(self)

    def to_json(self, indent: int | None = 2) -> str:
        """Returns `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Draws the pictures of this result, one below the other.

        Args:
            path: a file to write them to, in the format of its name.

        Returns:
            A `matplotlib.figure.Figure`, unknown to pyplot, which notebooks show.

        Raises:
            ImportError: if matplotlib is not installed.
            ValueError: if there is nothing to draw.
        """
        from keras_babysit.document import figures

        drawn = figures.drawn(list(figures_in(self.content())), type(self).__name__)
        if path is not None:
            drawn.savefig(os.fspath(path), dpi=110)
        return drawn

    def save(self, path: str | os.PathLike) -> Path:
        """Writes this result to a file whose ending says how.

        Args:
            path: `.html` is one self-contained page, `.md` Markdown, `.txt` what
                `print` shows, `.json` what `to_dict` returns; `.png`, `.svg` and
                `.pdf` are its pictures.

        Returns:
            The path of the file.

        Raises:
            ImportError: if a picture is asked for and matplotlib is not installed.
            OSError: if the file cannot be written.
            ValueError: for another ending, or for a picture where there is none.
        """
        file = Path(path)
        ending = file.suffix.lower()
        if ending in _PICTURES:
            self.plot(file)
        else:
            file.write_text(self._as(ending, path), encoding="utf-8")
        return file

    def _as(self, ending: str, path: str | os.PathLike) -> str:
        from keras_babysit.document import console, html, markdown

        if ending == ".html":
            return html.page(self.content(), self._title())
        if ending == ".md":
            return markdown.text(self.content()) + "\n"
        if ending == ".txt":
            return console.text(self.content(), WIDTH) + "\n"
        if ending == ".json":
            return self.to_json() + "\n"
        known = ", ".join((".html", ".md", ".txt", ".json", *_PICTURES))
        raise ValueError(
            f"`path` must end in one of {known}. Received: path={str(path)!r}"
        )

    def _title(self) -> str:
        return next(
            (plain(block.text) for block in self.content() if hasattr(block, "text")),
            type(self).__name__,
        )

    def __str__(self) -> str:
        from keras_babysit.document import console

        columns = shutil.get_terminal_size((WIDTH, 24)).columns
        return console.text(self.content(), max(_NARROWEST, min(columns, WIDTH)))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        from keras_babysit.document import console as renderer

        narrow = options.update_width(min(options.max_width, WIDTH))
        for shown in renderer.renderables(self.content(), narrow.max_width):
            yield from console.render(shown, narrow)

    def _repr_html_(self) -> str | None:
        from keras_babysit.document import html

        return html.fragment(self.content())


def paragraphs(*texts: str, tone: str = "") -> list[Block]:
    """Returns a paragraph for each text that is not empty."""
    return [Text(text, tone) for text in texts if text]
