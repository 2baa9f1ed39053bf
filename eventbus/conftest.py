from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.db import connection

from eventbus.consumer import CONSUMERS
from eventbus.contracts.event import Event
from eventbus.tests import projections, samples


@pytest.fixture(autouse=True)
def only_samples_declared() -> Iterator[None]:
    """The registries hold the samples and what the test itself declares, and are as before after it."""
    with (
        patch.dict(Event.registry, samples.CONTRACTS, clear=True),
        patch.dict(CONSUMERS, samples.SAMPLES, clear=True),
    ):
        yield


@pytest.fixture
def projected_tables(transactional_db: None, only_samples_declared: None) -> Iterator[None]:
    """The sample projections are declared and have their tables; nothing of them or of their rebuilds is left."""
    projections.also.clear()
    with connection.cursor() as cursor:
        cursor.execute(projections.TABLES)
    try:
        with patch.dict(CONSUMERS, {each.name: each for each in projections.PROJECTIONS}):
            yield
    finally:
        with connection.cursor() as cursor:
            for each in projections.PROJECTIONS:
                for kind in ("rebuild", "old"):
                    cursor.execute(f"DROP SCHEMA IF EXISTS {kind}_{each.name.replace('.', '_')} CASCADE")
            cursor.execute("DROP TABLE shelf, journey")
