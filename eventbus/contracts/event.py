"""Events and the envelope that carries them, as typed classes."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import UUID7, BaseModel, ConfigDict, Field, PrivateAttr, WithJsonSchema
from pydantic.alias_generators import to_camel

from eventbus.contracts.exact_json import encode_json
from eventbus.contracts.fields import Line, Moment, Named, Whole
from eventbus.contracts.registry import register
from eventbus.contracts.versions import VERSION, routing_key

ENVELOPE_VERSION = "1.0"
UUID_7 = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$",
}


class Contract(BaseModel):
    """A value inside an event: camelCase on the wire, immutable in code. Unknown fields are left out, not refused,
    so that a producer may add an optional field before its consumers know it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Metadata(Contract):
    """`correlation_id` is the same in all that one user action caused; `causation_id` is the event directly before."""

    correlation_id: Annotated[Line, Field(max_length=128)]
    causation_id: Named | None = None
    user_id: Annotated[Line, Field(max_length=200)] | None = None


class Envelope(Contract):
    """What every event carries beside its data. `sequence` counts 1, 2, 3 … within the aggregate."""

    version: Annotated[str, Field(pattern=VERSION)]
    event_id: Annotated[UUID7, WithJsonSchema(UUID_7)]
    event_type: Annotated[Line, Field(max_length=200)]
    aggregate_type: Annotated[Line, Field(max_length=200)]
    aggregate_id: Annotated[Line, Field(max_length=64)]
    sequence: Annotated[Whole, Field(ge=1, lt=2**31)]
    occurred_at: Moment
    metadata: Metadata
    data: dict[str, Any]


class Event(Contract):
    """A fact in the past tense. Subclass it with its type, version and the field that names its aggregate:

        class OrderCreated(Event, type="order.created", version="1.0", aggregate="order_id"): ...

    With `internal=True` it is a part of its aggregate's own history: archived like any other, and sent to nobody.
    Raises TypeError on a declaration that is incomplete or already taken.
    """

    type: ClassVar[str]
    version: ClassVar[str]
    aggregate_field: ClassVar[str]
    aggregate_type: ClassVar[str]
    internal: ClassVar[bool]

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
        if not re.search(VERSION, cls.version):
            raise TypeError(f"{cls.__name__}: version={cls.version!r} is not <major>.<minor>, as in 1.0.")
        if cls.aggregate_field not in cls.model_fields:
            raise TypeError(f"{cls.__name__}: aggregate={cls.aggregate_field!r} is not one of its fields.")
        cls.aggregate_type = kwargs.get("aggregate_type", cls.type.split(".")[0])
        cls.internal = kwargs.get("internal", False)
        register(cls)

    @classmethod
    def routing_key(cls) -> str:
        """`<event type>.v<major version>`: what queues bind to."""
        return routing_key(cls.type, cls.version)

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
