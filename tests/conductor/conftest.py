import pytest

from tests.conductor.world import World


@pytest.fixture
def world():
    made = World(hosts=2)
    made.start()
    yield made
    made.stop()
