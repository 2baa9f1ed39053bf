from collections.abc import Iterator
from unittest.mock import patch

import pytest

from eventbus import declarations
from eventbus.contracts import Event
from eventbus.tests import samples


@pytest.fixture(autouse=True)
def only_samples_declared() -> Iterator[None]:
    """The registries hold the samples and what the test itself declares, and are as before after it."""
    with (
        patch.dict(Event.registry, samples.CONTRACTS, clear=True),
        patch.dict(declarations.registry, samples.CONSUMERS, clear=True),
    ):
        yield
