import json
from datetime import UTC, datetime
from uuid import UUID

from eventbus.broker.message import to_message
from eventbus.broker.topology import queues
from eventbus.contracts.codec import encode_envelope
from eventbus.contracts.rows import WireFields

FIELDS = WireFields(
    event_id=UUID(int=7), event_type="parcel.sent", version="2.1", aggregate_type="parcel", aggregate_id="p1",
    sequence=3, occurred_at=datetime(2025, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC), correlation_id="c1",
    causation_id=None, user_id=None, data='{"parcelId": "p1", "weight": 0.10}',
)  # fmt: skip


def test_a_message_can_be_read_by_any_client() -> None:
    message = to_message(FIELDS)
    assert (message.exchange, message.routing_key) == ("events", "parcel.sent.v2")
    assert message.properties["content_type"] == "application/json"
    assert message.properties["message_id"] == str(FIELDS.event_id)
    assert message.properties["type"] == "parcel.sent"
    assert message.properties["correlation_id"] == "c1"
    assert message.properties["app_id"] == "parcel"
    assert message.properties["timestamp"] == int(FIELDS.occurred_at.timestamp())


def test_cloudevents_attributes_ride_in_the_headers() -> None:
    assert to_message(FIELDS).properties["application_headers"] == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": str(FIELDS.event_id),
        "cloudEvents_source": "/parcel",
        "cloudEvents_type": "parcel.sent",
        "cloudEvents_subject": "p1",
        "cloudEvents_time": "2025-03-01T12:30:15.250000Z",
        "cloudEvents_dataschema": "/schemas/parcel.sent/2.1",
    }


def test_the_archives_own_text_goes_on_the_wire() -> None:
    body = encode_envelope(FIELDS)
    assert body.endswith(b',"data":{"parcelId": "p1", "weight": 0.10}}')
    assert json.loads(body)["sequence"] == 3


def test_every_consumer_has_a_queue_and_a_dead_letter_queue_declared_before_it() -> None:
    names = [queue.name for queue in queues()]
    for consumer in ("parcel.track", "parcel.track_all"):
        assert names.index(f"{consumer}.dead") < names.index(consumer)
