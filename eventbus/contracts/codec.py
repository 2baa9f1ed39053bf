"""The envelope as bytes: written for the wire, read from the wire, strict about both."""

from datetime import datetime
from hashlib import blake2b
from typing import Any

from pydantic import ValidationError

from eventbus.contracts.event import Envelope, Event, Metadata
from eventbus.contracts.exact_json import (
    decode_archived_json,
    decode_json,
    encode_json,
    encode_sorted_json,
    is_storable,
)
from eventbus.contracts.registry import contract_of
from eventbus.contracts.rows import WireFields
from eventbus.errors import InvalidEvent, Reason, RepeatedName
from eventbus.ids import is_of_the_future

#: The largest body that a consumer reads, in bytes. A bigger one is a dead letter.
MAX_BODY_BYTES = 1_000_000


def rfc3339(moment: datetime) -> str:
    """A UTC moment as RFC 3339 with a `Z`, in microseconds."""
    # strftime takes ten times as long, and the relay does this twice for every event.
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def encode_envelope(fields: WireFields) -> bytes:
    """The envelope as it goes on the wire. The archive's own JSON text is spliced in: no digit of it can change."""
    metadata: dict[str, str] = {"correlationId": fields.correlation_id}
    if fields.causation_id is not None:
        metadata["causationId"] = str(fields.causation_id)
    if fields.user_id is not None:
        metadata["userId"] = fields.user_id
    head = encode_json(
        {
            "version": fields.version,
            "eventId": str(fields.event_id),
            "eventType": fields.event_type,
            "aggregateType": fields.aggregate_type,
            "aggregateId": fields.aggregate_id,
            "sequence": fields.sequence,
            "occurredAt": rfc3339(fields.occurred_at),
            "metadata": metadata,
        }
    )
    return b'%s,"data":%s}' % (head[:-1], fields.data.encode())


def decode(body: bytes | str) -> Event:
    """A message body as an event of its contract, with its envelope. Raises InvalidEvent."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidEvent(Reason.TOO_LARGE, f"{len(body)} bytes; the limit is {MAX_BODY_BYTES}.")
    raw = _decode_json(body)
    try:
        envelope = Envelope.model_validate(raw)
    except ValidationError as error:
        raise InvalidEvent(Reason.INVALID_ENVELOPE, explain(error)) from error
    if is_of_the_future(envelope.event_id):
        raise InvalidEvent(Reason.INVALID_ENVELOPE, "eventId: its time is months ahead. The sender's clock is wrong.")
    contract = contract_of(envelope.event_type, envelope.version)
    try:
        event = contract.from_envelope(envelope)
    except ValidationError as error:
        raise InvalidEvent(Reason.INVALID_DATA, explain(error)) from error
    if (envelope.aggregate_type, envelope.aggregate_id) != (event.aggregate_type, event.aggregate_id):
        raise InvalidEvent(
            Reason.INVALID_ENVELOPE,
            f"aggregateType, aggregateId: not {event.aggregate_type} and what {contract.aggregate_field} says.",
        )
    return event


def _decode_json(body: bytes | str) -> Any:
    try:
        written = body.encode() if isinstance(body, str) else body
        raw = decode_json(written)
    except RepeatedName as error:
        raise InvalidEvent(Reason.INVALID_ENVELOPE, str(error)) from error
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidEvent(Reason.NOT_JSON, str(error)) from error
    # What can't be stored can only have been written as an escape, and few bodies have one.
    if b"\\u" in written and not is_storable(raw):
        raise InvalidEvent(Reason.INVALID_DATA, "Its text has a NUL or half of a surrogate pair.")
    return raw


def from_row(fields: WireFields) -> Event:
    """An archived event of its contract, with its envelope, which is the archive's own and is not checked again.

    Raises InvalidEvent where the contract is gone or refuses the data.
    """
    envelope = Envelope.model_construct(
        version=fields.version,
        event_id=fields.event_id,
        event_type=fields.event_type,
        aggregate_type=fields.aggregate_type,
        aggregate_id=fields.aggregate_id,
        sequence=fields.sequence,
        occurred_at=fields.occurred_at,
        metadata=Metadata.model_construct(
            correlation_id=fields.correlation_id, causation_id=fields.causation_id, user_id=fields.user_id
        ),
        data=decode_archived_json(fields.data),
    )
    try:
        return contract_of(fields.event_type, fields.version).from_envelope(envelope)
    except ValidationError as error:
        detail = f"{fields.event_type} {fields.event_id}: {explain(error)}"
        raise InvalidEvent(Reason.INVALID_DATA, detail) from error


def payload_hash(event: Event) -> int:
    """64 bits of what an event says and of whom: the same however its JSON is laid out, another for other data."""
    said = encode_sorted_json([event.type, event.aggregate_type, event.aggregate_id, event.envelope.data])
    return int.from_bytes(blake2b(said, digest_size=8).digest(), signed=True)


def explain(error: ValidationError) -> str:
    """What is wrong and where, without the values: they may be personal data, and this goes to logs."""
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc']) or 'body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    )
