"""What each kind of `Fix` does to the model or the data, and how it is put in words."""

from keras_babysit.fixes.changes import data, model
from keras_babysit.fixes.changes.setup import Change

#: Kind to what it does.
CHANGES: dict[str, Change] = {**model.CHANGES, **data.CHANGES}
