"""An archived event as an AMQP message: the envelope as body, CloudEvents attributes in the headers.

CloudEvents 1.0 AMQP binding, binary mode: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md
"""

from typing import Any

from eventbus.broker.publisher import Outgoing
from eventbus.broker.topology import EVENTS
from eventbus.conf import bus_settings
from eventbus.contracts.codec import encode_envelope, rfc3339
from eventbus.contracts.rows import WireFields
from eventbus.contracts.versions import routing_key

#: Bytes in AMQP's short strings.
SHORT = 255


def fits_property(name: str, value: Any) -> bool:
    """Whether a property that was stored still fits into AMQP: what was cleaned for the database may not."""
    if name == "timestamp":
        return isinstance(value, int) and value >= 0
    return isinstance(value, str) and len(value.encode()) <= SHORT


def to_message(fields: WireFields) -> Outgoing:
    """The message that carries this event to everyone who listens."""
    event_id = str(fields.event_id)
    source = f"/{fields.event_type.split('.')[0]}"
    return Outgoing(
        exchange=EVENTS,
        routing_key=routing_key(fields.event_type, fields.version),
        body=encode_envelope(fields),
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "message_id": event_id,
            "type": fields.event_type,
            "timestamp": int(fields.occurred_at.timestamp()),
            "app_id": source[1:],
            "correlation_id": fields.correlation_id,
            "application_headers": {
                "cloudEvents_specversion": "1.0",
                "cloudEvents_id": event_id,
                "cloudEvents_source": source,
                "cloudEvents_type": fields.event_type,
                "cloudEvents_subject": fields.aggregate_id,
                "cloudEvents_time": rfc3339(fields.occurred_at),
                "cloudEvents_dataschema": f"{bus_settings.SCHEMA_URL}/{fields.event_type}/{fields.version}",
            },
        },
    )
