import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from eventbus.contracts.codec import MAX_BODY_BYTES, decode, encode_envelope
from eventbus.contracts.event import Event
from eventbus.contracts.rows import WireFields
from eventbus.errors import InvalidEvent
from eventbus.ids import new_id
from eventbus.testing.bus import delivered, on_the_wire
from eventbus.tests.samples import Line, ParcelSent

NIL, MAX = str(UUID(int=0)), str(UUID(int=2**128 - 1))
NO_MOMENTS = [
    "2026-02-01T00:00:00", "2026-02-01", "1769904000", 1769904000, "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00", "2026-02-30T00:00:00Z", "2026-W05-1T00:00:00Z", "2026-02-01T00:00:00Z\n",
]  # fmt: skip


def in_days(days: int) -> UUID:
    """An id of a clock that is so far ahead."""
    return UUID(int=new_id().int + (days * 86_400_000 << 80))


def changed(**fields: object) -> bytes:
    """A good message body with some fields of the envelope replaced; None takes a field out."""
    envelope = json.loads(on_the_wire(ParcelSent(parcel_id="p1"))) | fields
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def test_an_event_survives_the_wire() -> None:
    event_id, cause = new_id(), new_id()
    sent = ParcelSent(parcel_id="p1", lines=(Line(sku="ä\u2028\"'<", price=Decimal("0.10")),))

    event = delivered(sent, event_id=event_id, correlation_id="corr-1", causation_id=cause)

    assert event.model_dump() == sent.model_dump()
    assert event.envelope.event_id == event_id
    assert (event.envelope.event_type, event.envelope.version) == ("parcel.sent", "1.0")
    assert (event.envelope.aggregate_type, event.envelope.aggregate_id) == ("parcel", "p1")
    assert (event.envelope.metadata.correlation_id, event.envelope.metadata.causation_id) == ("corr-1", cause)


def test_the_wire_is_camel_case_and_leaves_out_what_is_not_set() -> None:
    envelope = json.loads(on_the_wire(ParcelSent(parcel_id="p1")))

    assert set(envelope) == {
        "version", "eventId", "eventType", "aggregateType", "aggregateId", "sequence", "occurredAt", "metadata", "data",
    }  # fmt: skip
    assert envelope["metadata"] == {"correlationId": "test"}
    assert envelope["data"]["parcelId"] == "p1"


def test_times_are_utc_in_rfc_3339() -> None:
    fields = WireFields(
        event_id=UUID(int=1), event_type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id="p1",
        sequence=1, occurred_at=datetime(2024, 2, 29, 23, 59, 59, 120, tzinfo=UTC), correlation_id="c",
        causation_id=None, user_id="u", data="{}",
    )  # fmt: skip
    envelope = json.loads(encode_envelope(fields))
    assert envelope["occurredAt"] == "2024-02-29T23:59:59.000120Z"
    assert envelope["metadata"] == {"correlationId": "c", "userId": "u"}


@pytest.mark.parametrize("text", ["0.1", "0.10", "79228162514264337593543950335.0001", "1E+3", "-0.00"])
def test_money_keeps_every_digit(text: str) -> None:
    body = on_the_wire(ParcelSent(parcel_id="p1", weight=Decimal(text)))
    decoded = decode(body)
    assert isinstance(decoded, ParcelSent)
    assert decoded.weight.as_tuple() == Decimal(text).as_tuple()
    assert isinstance(json.loads(body, parse_float=Decimal, parse_int=Decimal)["data"]["weight"], Decimal)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"hello", "not_json"),
        (b"\xff\xfe{}", "not_json"),
        (b'{"a": "\xc3\x28"}', "not_json"),
        (b'{"version": "1.0"', "not_json"),
        (b'{"version": NaN}', "not_json"),
        (b'{"version": -Infinity}', "not_json"),
        (b"[" * 100_000, "not_json"),
        # A number with so many zeros would keep a process busy for minutes.
        (changed().replace(b'"sequence": 1', b'"sequence": 1E+3000000'), "not_json"),
        (b"[1, 2]", "invalid_envelope"),
        (b"null", "invalid_envelope"),
        (b'"text"', "invalid_envelope"),
        (b"{}", "invalid_envelope"),
        (b"\x80\x04\x95\x10", "not_json"),
        (b" " * (MAX_BODY_BYTES + 1), "too_large"),
        (changed(eventId="not a uuid"), "invalid_envelope"),
        (changed(metadata={}), "invalid_envelope"),
        (changed(sequence=0), "invalid_envelope"),
        (changed(occurredAt="yesterday"), "invalid_envelope"),
        (changed(aggregateId=None), "invalid_envelope"),
        # What nobody meant, though pydantic would take it.
        *((changed(eventId=each), "invalid_envelope") for each in (NIL, MAX, str(uuid4()))),
        (changed(eventId=str(in_days(61))), "invalid_envelope"),
        *((changed(metadata={"correlationId": "c", "causationId": each}), "invalid_envelope") for each in (NIL, MAX)),
        *((changed(sequence=each), "invalid_envelope") for each in ("1", True, 1.0, 2**31)),
        *((changed(version=each), "invalid_envelope") for each in ("", "1", "1.x", "1.0\n", "v1.0", 1.0)),
        *((changed(occurredAt=each), "invalid_envelope") for each in NO_MOMENTS),
        *((changed(aggregateId=each), "invalid_envelope") for each in ("p2", "p1\n", "", 1, None)),
        (changed(aggregateType="letter"), "invalid_envelope"),
        (changed(eventType="parcel.sent\n"), "invalid_envelope"),
        (changed(metadata={"correlationId": "a\r\nb"}), "invalid_envelope"),
        (changed(metadata={"correlationId": "c", "userId": "u" * 201}), "invalid_envelope"),
        (changed().replace(b'"sequence": 1', b'"sequence": 1, "sequence": 2'), "invalid_envelope"),
        (changed().replace(b'"parcelId": "p1"', b'"parcelId": "p2", "parcelId": "p1"'), "invalid_envelope"),
        (changed().decode().encode("utf-16"), "not_json"),
        (changed().decode().encode("utf-16-le"), "not_json"),
        (b"\xef\xbb\xbf" + changed(), "not_json"),
        # What JSON allows and PostgreSQL can't hold, wherever it stands.
        (changed(addedLater="a\0b"), "invalid_data"),
        (changed(data={"parcelId": "p1", "colour\0": 1}), "invalid_data"),
        (changed(data={"parcelId": "p1", "colours": [{"of": ["\ud800"]}]}), "invalid_data"),
        (changed(data={"parcelId": "p1", "\udfff": 1}), "invalid_data"),
        (changed(data={"parcelId": "p1"}).replace(b'"p1"}', b'"p1", "weight": 1.%s}' % (b"0" * 20_000)), "not_json"),
        (changed(data=[1]), "invalid_envelope"),
        (changed(data=None), "invalid_envelope"),
        (changed(eventType="parcel.eaten"), "unknown_type"),
        (changed(version="9.0"), "unknown_version"),
        (changed(data={"weight": 1}), "invalid_data"),
        (changed(data={"parcelId": {"a": 1}}), "invalid_data"),
        (changed(data={"parcelId": "p1", "weight": "heavy"}), "invalid_data"),
    ],
)
def test_what_is_no_event_is_named_and_never_understood(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(body)
    assert refused.value.reason == reason
    assert str(refused.value).startswith(f"{reason}: ")


def test_a_refusal_does_not_repeat_the_values() -> None:
    body = changed(data={"parcelId": "p1", "lines": [{"sku": 7, "price": "jane@home.example"}]})
    with pytest.raises(InvalidEvent) as refused:
        decode(body)
    assert "lines.0.price" in str(refused.value)
    assert "jane@home.example" not in str(refused.value)


def test_unknown_fields_are_left_out_so_that_producers_may_add_some() -> None:
    event = decode(changed(data={"parcelId": "p1", "colour": "red"}, addedLater=True))
    assert event.model_dump() == ParcelSent(parcel_id="p1").model_dump()


@pytest.mark.parametrize("text", ["a \\ud83d\\ude00", "back\\\\u0000slash", "\\u00e4\\ttab"])
def test_other_escapes_are_only_text(text: str) -> None:
    event = decode(changed(addedLater=0).replace(b'"addedLater": 0', f'"addedLater": "{text}"'.encode()))
    assert event.model_dump() == ParcelSent(parcel_id="p1").model_dump()


@pytest.mark.parametrize("moment", ["2026-02-01t01:30:00.1234567+01:30", "2026-02-01 00:00:00.123456Z"])
def test_a_moment_with_a_time_zone_is_read_in_utc(moment: str) -> None:
    occurred_at = decode(changed(occurredAt=moment)).envelope.occurred_at
    assert occurred_at.isoformat() == "2026-02-01T00:00:00.123456+00:00"


def test_a_newer_minor_version_is_understood_and_the_envelope_keeps_what_came() -> None:
    event = decode(changed(version="1.12", data={"parcelId": "p1", "colour": "red"}))
    assert isinstance(event, ParcelSent)
    assert (event.envelope.version, event.routing_key()) == ("1.12", "parcel.sent.v1")


def test_of_the_known_minor_versions_the_newest_reads_all() -> None:
    class ParcelSentTen(Event, type="parcel.sent", version="1.10", aggregate="parcel_id"):
        parcel_id: str
        colour: str = "brown"

    class ParcelSentNine(Event, type="parcel.sent", version="1.9", aggregate="parcel_id"):
        parcel_id: str

    for version in ("1.0", "1.9", "1.10", "1.11"):
        assert isinstance(decode(changed(version=version)), ParcelSentTen)
    with pytest.raises(InvalidEvent, match=r"known: 1\.10"):
        decode(changed(version="2.0"))


@pytest.mark.parametrize("version", ["1", "one.two", "1.0.0", ""])
def test_a_version_is_two_numbers(version: str) -> None:
    with pytest.raises(TypeError, match=r"is not <major>\.<minor>"):

        class Undecided(Event, type="parcel.undecided", version=version, aggregate="parcel_id"):
            parcel_id: str


def test_a_clock_that_is_a_month_ahead_is_no_reason_to_lose_an_event() -> None:
    assert decode(changed(eventId=str(in_days(31)))).envelope.event_id


def test_an_unknown_version_names_the_known_ones() -> None:
    with pytest.raises(InvalidEvent, match=r"known: 1\.0"):
        decode(changed(version="7.0"))


def test_the_routing_key_carries_the_major_version() -> None:
    class ParcelSentTwo(Event, type="parcel.sent", version="2.3", aggregate="parcel_id"):
        parcel_id: str

    assert ParcelSent.routing_key() == "parcel.sent.v1"
    assert ParcelSentTwo.routing_key() == "parcel.sent.v2"


def test_a_version_can_be_declared_once_only() -> None:
    with pytest.raises(TypeError, match=r"parcel\.sent 1\.0 is declared twice: .*ParcelSent has it"):

        class Impostor(Event, type="parcel.sent", version="1.0", aggregate="parcel_id"):
            parcel_id: str


def test_a_contract_says_its_type_version_and_aggregate() -> None:
    with pytest.raises(TypeError, match="Nameless does not say its 'version'"):

        class Nameless(Event, type="parcel.nameless", aggregate="parcel_id"):
            parcel_id: str


def test_the_aggregate_is_one_of_the_fields() -> None:
    with pytest.raises(TypeError, match="aggregate='order_id' is not one of its fields"):

        class Adrift(Event, type="parcel.adrift", version="1.0", aggregate="order_id"):
            parcel_id: str


def test_an_event_cannot_be_changed() -> None:
    event = ParcelSent(parcel_id="p1")
    with pytest.raises(ValidationError, match="frozen"):
        event.parcel_id = "p2"  # type: ignore[misc]


def test_an_event_made_in_code_has_no_envelope() -> None:
    with pytest.raises(RuntimeError, match="was not delivered by the bus"):
        _ = ParcelSent(parcel_id="p1").envelope
