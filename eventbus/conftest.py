"""What holds for the bus's own tests. They run without the project around it: `pytest eventbus`."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import connection

from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import CONSUMERS
from eventbus.testing.fixtures import no_events_left_over
from eventbus.tests import projections

__all__ = ["no_events_left_over"]

if settings.SETTINGS_MODULE != "eventbus.tests.settings":
    raise pytest.UsageError("Run the tests of the bus by themselves: script/test eventbus")


@pytest.fixture(autouse=True)
def what_a_test_declares_ends_with_it() -> Iterator[None]:
    with patch.dict(CONTRACTS), patch.dict(CONSUMERS):
        yield


@pytest.fixture
def projected_tables(transactional_db: None) -> Iterator[None]:
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
