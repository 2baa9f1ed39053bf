from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.core.checks import CheckMessage
from django.db.models import Model

from eventbus.checks import projections
from eventbus.declaration import consumer
from eventbus.recording.models import Stream
from eventbus.relay.models import Outbox
from eventbus.tests.samples import ParcelSent


def declare(name: str, *models: type[Model]) -> None:
    consumer(name, on=[ParcelSent], tables=models)(lambda event: None)


@pytest.mark.parametrize(
    ("check", "model", "code"),
    [
        (projections.projections_stand_alone, Permission, "eventbus.E031"),
        (projections.projections_have_their_own_keys, Outbox, "eventbus.W032"),
    ],
)
def test_a_table_that_a_rebuild_could_not_take_over_is_named(
    check: Callable[[], list[CheckMessage]], model: type[Model], code: str
) -> None:
    declare("parcel.good", Stream)
    assert check() == []
    declare("parcel.bad", model)
    found = check()
    assert {message.id for message in found} == {code}
    assert all("parcel.bad" in message.msg for message in found)


def test_two_projections_of_one_table_are_named() -> None:
    declare("parcel.one", Stream)
    assert projections.a_table_has_one_projection() == []
    declare("parcel.two", Stream, Outbox)
    (message,) = projections.a_table_has_one_projection()
    assert message.msg == "The table stream is declared by several projections: parcel.one, parcel.two."
