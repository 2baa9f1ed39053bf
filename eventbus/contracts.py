"""Versioned event contracts: typed classes, and the envelope that carries them on the wire and in the archive."""

import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel

ENVELOPE_VERSION = "1.0"
#: The largest body that a consumer reads, in bytes. A bigger one is a dead letter.
MAX_BODY_BYTES = 1_000_000
#: The largest power of ten that a number may have, either way.
MAX_EXPONENT = 100

#: Money is a JSON number on the wire and a Decimal in code: msgspec writes the digits as they are, never as a float.
_encoder = msgspec.json.Encoder(decimal_format="number")
encode_json = _encoder.encode


class InvalidEvent(Exception):
    """The bytes are not an event that this code understands. Retrying cannot heal it.

    `reason` is one of `not_json`, `too_large`, `invalid_envelope`, `unknown_type`, `unknown_version`, `invalid_data`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(self.args)


class Contract(BaseModel):
    """A value inside an event: camelCase on the wire, immutable in code. Unknown fields are left out, not refused,
    so that a producer may add an optional field before its consumers know it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Metadata(Contract):
    """`correlation_id` is the same in all that one user action caused; `causation_id` is the event directly before."""

    correlation_id: Annotated[str, Field(min_length=1, max_length=128)]
    causation_id: UUID | None = None
    user_id: str | None = None


class Envelope(Contract):
    """What every event carries beside its data. `sequence` counts 1, 2, 3 … within the aggregate."""

    version: str
    event_id: UUID
    event_type: str
    aggregate_type: str
    aggregate_id: Annotated[str, Field(min_length=1, max_length=64)]
    sequence: Annotated[int, Field(ge=1)]
    occurred_at: datetime
    metadata: Metadata
    data: dict[str, Any]


class Event(Contract):
    """A fact in the past tense. Subclass it with its type, version and the field that names its aggregate:

        class OrderCreated(Event, type="order.created", version="1.0", aggregate="order_id"): ...

    With `announced=False` it is a part of its aggregate's own history: archived like any other, and sent to nobody.
    Raises TypeError on a declaration that is incomplete or already taken.
    """

    type: ClassVar[str]
    version: ClassVar[str]
    aggregate_field: ClassVar[str]
    aggregate_type: ClassVar[str]
    announced: ClassVar[bool]
    registry: ClassVar["Registry"] = {}

    _envelope: Envelope | None = PrivateAttr(default=None)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # The keywords are read below, where pydantic has collected the fields; object's own hook would refuse them.
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        try:
            cls.type, cls.version = kwargs["type"], kwargs["version"]
            cls.aggregate_field = kwargs["aggregate"]
        except KeyError as missing:
            raise TypeError(
                f"{cls.__name__} does not say its {missing}: class X(Event, type=…, version=…, aggregate=…)."
            ) from None
        if cls.aggregate_field not in cls.model_fields:
            raise TypeError(f"{cls.__name__}: aggregate={cls.aggregate_field!r} is not one of its fields.")
        cls.aggregate_type = kwargs.get("aggregate_type", cls.type.split(".")[0])
        cls.announced = kwargs.get("announced", True)
        taken = cls.registry.setdefault((cls.type, cls.version), cls)
        if taken is not cls:
            raise TypeError(
                f"{cls.type} {cls.version} is declared twice: {taken.__qualname__} has it. Raise the version."
            )

    @classmethod
    def routing_key(cls) -> str:
        """`<event type>.v<major version>`: what queues bind to."""
        return f"{cls.type}.v{cls.version.split('.')[0]}"

    @property
    def aggregate_id(self) -> str:
        """The id of the thing this happened to, as text."""
        return str(getattr(self, self.aggregate_field))

    @property
    def envelope(self) -> Envelope:
        """What the bus knows of an event that it delivered. Raises RuntimeError on one that was made in code."""
        if self._envelope is None:
            raise RuntimeError(f"This {self.type} was not delivered by the bus, so it has no envelope yet.")
        return self._envelope

    def data(self) -> bytes:
        """The payload as JSON."""
        return encode_json(self.model_dump(by_alias=True))

    @classmethod
    def from_envelope(cls, envelope: Envelope) -> Self:
        """Validate the envelope's data against this contract. Raises pydantic.ValidationError."""
        event = cls.model_validate(envelope.data)
        event._envelope = envelope
        return event


#: Contracts by type and version.
Registry = dict[tuple[str, str], type[Event]]


@dataclass(frozen=True, slots=True)
class WireFields:
    """The columns of the archive that a message body is made of; `data` is JSON text, spliced in unparsed."""

    event_id: UUID
    event_type: str
    version: str
    aggregate_type: str
    aggregate_id: str
    sequence: int
    occurred_at: datetime
    correlation_id: str
    causation_id: UUID | None
    user_id: str | None
    data: str


#: What a query of the table `event`, called `e`, selects for WireFields(*row).
WIRE_COLUMNS = """e.id, e.type, e.version, e.aggregate_type, e.aggregate_id, e.sequence, e.occurred_at,
       e.correlation_id, e.causation_id, e.user_id, e.data::text"""
#: The routing key of a row of it: what `Event.routing_key` is of a contract.
ROUTING_KEY = "e.type || '.v' || split_part(e.version, '.', 1)"


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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> Decimal:
    # Python would write out 1E+999999999 digit by digit, and nothing could stop it.
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number with an exponent of {number.adjusted()}")
    return number


def decode(body: bytes | str) -> Event:
    """A message body as an event of its contract, with its envelope. Raises InvalidEvent."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidEvent("too_large", f"{len(body)} bytes; the limit is {MAX_BODY_BYTES}.")
    try:
        raw = json.loads(body, parse_float=_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("not_json", str(error)) from error
    try:
        envelope = Envelope.model_validate(raw)
    except ValidationError as error:
        raise InvalidEvent("invalid_envelope", explain(error)) from error
    contract = contract_of(envelope.event_type, envelope.version)
    try:
        return contract.from_envelope(envelope)
    except ValidationError as error:
        raise InvalidEvent("invalid_data", explain(error)) from error


def contract_of(event_type: str, version: str) -> type[Event]:
    """The class of a published contract. Raises InvalidEvent where there is none."""
    contract = Event.registry.get((event_type, version))
    if contract is not None:
        return contract
    versions = sorted(known for kind, known in Event.registry if kind == event_type)
    if not versions:
        raise InvalidEvent("unknown_type", f"No contract is called {event_type!r}.")
    raise InvalidEvent("unknown_version", f"{event_type} {version!r} is unknown; known: {', '.join(versions)}.")


def explain(error: ValidationError) -> str:
    """What is wrong and where, without the values: they may be personal data, and this goes to logs."""
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc']) or 'body'}: {found['msg']}"
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    )
