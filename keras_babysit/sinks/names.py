"""Names of layers and weights in tags: the same for every run of an architecture."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping

from keras_babysit.document.words import clean
from keras_babysit.event_files.tags import described
from keras_babysit.facts import Outline

#: Longer names are cut in the middle: TensorBoard sends tags in addresses.
LONGEST = 160
#: No more than this of a path is in a description.
_LONGEST_DESCRIPTION = 1000


class Names:
    """Turns paths of layers and weights into what tags call them.

    Keras numbers the names that it makes up through a whole process, and puts the
    model's own before them: the kernel `sequential_1/dense_3/kernel` of a second run is
    the first run's `sequential/dense_1/kernel`. In tags, both are `dense_1/kernel`.

    Args:
        outline: which names are made up; without one, paths stay what they are.
    """

    def __init__(self, outline: Outline):
        self._new = renumbered(outline.made_up, outline.chosen)
        is_made_up = outline.model in outline.made_up
        self._root = f"{outline.model}/" if is_made_up else ""
        self._minor = outline.minor
        self._names: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._described: set[str] = set()
        #: The model's name.
        self.model = harmless(self._new.get(outline.model, outline.model))

    def of(self, path: str) -> str:
        """Returns what tags call a layer or a weight: no other has the same name."""
        if path not in self._names:
            parts = path.removeprefix(self._root).split("/")
            name = harmless("/".join(map(self._renumber, parts)))
            if self._owners.setdefault(name, path) != path:
                name = _marked(name, path)
            self._names[path] = name
        return self._names[path]

    def is_minor(self, path: str) -> bool:
        """Whether a layer or a weight has no charts; see `Outline.minor`."""
        return _without_call(path)[0] in self._minor

    def description(self, tag: str, path: str) -> str:
        """Returns Keras's path where a tag has another name, once for each tag."""
        if self.of(path) == path or tag in self._described:
            return ""
        self._described.add(tag)
        shown = clean(path)[:_LONGEST_DESCRIPTION].replace("`", "'")
        return described(shown)

    def _renumber(self, part: str) -> str:
        name, call = _without_call(part)
        return self._new.get(name, name) + call


def renumbered(
    made_up: Mapping[str, str], chosen: Iterable[str] = ()
) -> dict[str, str]:
    """Returns what names that Keras made up become: each kind counts from the start.

    Args:
        made_up: names such as `"dense_3"` to their kinds, `"dense"`. The order of their
            numbers is kept.
        chosen: names that are taken.
    """
    taken, new = set(chosen), {}
    for kind in sorted(set(made_up.values())):
        names = [name for name, of in made_up.items() if of == kind]
        numbers = itertools.count()
        for name in sorted(names, key=lambda name: _number(name, kind)):
            free = (_numbered(kind, n) for n in numbers)
            new[name] = next(name for name in free if name not in taken)
            taken.add(new[name])
    return new


def harmless(name: str) -> str:
    """Returns a name of one line that is not too long, and like no other's."""
    shown = clean(name)
    if len(shown) > LONGEST:
        half = LONGEST // 2
        shown = f"{shown[:half]}…{shown[-half:]}"
    return shown if shown == name else _marked(shown, name)


def _marked(shown: str, name: str) -> str:
    """What is shown of a name, with a mark that no other name has."""
    digest = hashlib.blake2s(name.encode(errors="surrogatepass"), digest_size=4)
    return f"{shown}~{digest.hexdigest()}"


def _number(name: str, kind: str) -> int:
    return int(name.removeprefix(kind).removeprefix("_") or 0)


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _without_call(name: str) -> tuple[str, str]:
    """A name, and the count of its calls that it ends with: `"@2"`."""
    start, at, call = name.rpartition("@")
    return (start, at + call) if at and call.isdigit() else (name, "")
