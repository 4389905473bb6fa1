"""Inside the package too imports go one way."""

import pytest
from test_structure import GRAPH

ORDER = (
    "arguments",
    "files",
    "copies",
    "outputs",
    "scoring",
    "combining",
    "averaging",
    "members",
    "distilling",
)
ROOM_OF = {name: name.split(".")[1] for name in GRAPH if name.startswith("ensemble.")}


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Instead of conftest's: nothing here makes models."""


def test_every_room_has_its_place():
    assert set(ROOM_OF.values()) == set(ORDER)


@pytest.mark.parametrize("name", sorted(ROOM_OF))
def test_imports_go_downward(name):
    allowed = ORDER[: ORDER.index(ROOM_OF[name]) + 1]
    used = {ROOM_OF[other] for other in GRAPH[name] if other in ROOM_OF}
    assert used <= set(allowed)
