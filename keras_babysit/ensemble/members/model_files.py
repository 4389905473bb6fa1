"""What callbacks that keep several models of one training have in common."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_babysit.ensemble import files


class ModelFiles(keras.callbacks.Callback):
    """Writes models into a directory of one training, and only watches it.

    Args:
        directory: where the files go.
        overwrite: whether to delete files of another training in it.
        verbose: 0, or 1 for a line for each file.
    """

    #: What the files are, for messages.
    kind: str

    def __init__(
        self, directory: Any, overwrite: bool, verbose: int, *args: Any, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.directory = files.check_directory("directory", directory)
        self.overwrite, self.verbose = overwrite, verbose
        self._warned = False

    def _written(self, path: str) -> bool:
        """Writes the model to a file, or warns once; returns whether it is there."""
        try:
            files.save(self.model, path)
        except Exception as e:
            # Whatever it is that cannot be saved: it must not end the training.
            self._warn(
                f"could not write {path!r}, and training continues without it: "
                f"{type(e).__name__}: {e}"
            )
            return False
        if self.verbose:
            print(f"\n{type(self).__name__}: saved {path}")
        return True

    def _remove_foreign(self, paths: Sequence[Path]) -> None:
        if paths and not self.overwrite:
            raise ValueError(
                f"{os.fspath(self.directory)!r} has {self.kind} of another training. "
                "Use another directory, delete them or pass `overwrite=True`. "
                f"Received: {paths[0].name!r}"
            )
        files.remove(paths)

    def _warn(self, text: str) -> None:
        if not self._warned:
            warnings.warn(f"{type(self).__name__}: {text}", stacklevel=4)
        self._warned = True
