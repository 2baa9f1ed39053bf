"""Each read model can be built again from the archive, and is the same to the byte."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from analytics.tests.builders import CONSUMERS, story
from eventbus import publish
from eventbus.testing import ArchivedEvent, deliver, from_archive
from orders.events import OrderCreated, without_adjustments

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_old_tables() -> Iterator[None]:
    yield
    for consumer in CONSUMERS:
        call_command("rebuild_projection", consumer.name, "--drop-old")


def written_out(table: str) -> bytes:
    with connection.cursor() as cursor, cursor.copy(f"COPY (SELECT * FROM {table} ORDER BY 1) TO STDOUT") as out:
        return b"".join(bytes(block) for block in out)


@pytest.mark.usefixtures("no_old_tables")
def test_every_read_model_is_rebuilt_to_the_byte() -> None:
    for kinds in (["created", "confirmed", "shipped"], ["created", "rejected"], ["created", "cancelled"]):
        with transaction.atomic():
            publish(*story(*kinds))
    # As an archive has it that is older than order.created 2.0.
    created, *rest = story("created", "confirmed")
    with transaction.atomic():
        publish(without_adjustments(created), *rest)
    assert set(ArchivedEvent.objects.filter(type=OrderCreated.type).values_list("version", flat=True)) == {"1.0", "2.0"}
    events = [from_archive(row) for row in ArchivedEvent.objects.all()]
    for consumer, model in CONSUMERS.items():
        table = model._meta.db_table
        deliver([event for event in events if event.routing_key() in consumer.routing_keys], to=consumer)
        handled = written_out(table)
        assert handled
        model.objects.all().delete()
        call_command("rebuild_projection", consumer.name)
        assert written_out(table) == handled
