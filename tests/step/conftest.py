import pytest


@pytest.fixture(scope="module", autouse=True)
def _as_users_have_them(optimized_graphs):
    """What TensorFlow makes of a graph must be the same, watched or not."""
