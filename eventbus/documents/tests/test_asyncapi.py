"""The AsyncAPI document says what the declarations say. That it is one, AsyncAPI's own parser has to say."""

import json
from io import StringIO

import jsonschema_rs
from django.core.management import call_command

from eventbus.contracts.casting import CASTS
from eventbus.contracts.event import Event
from eventbus.declaration import Retry, consumer
from eventbus.documents import asyncapi
from eventbus.testing.bus import on_the_wire
from eventbus.tests.references import at, references
from eventbus.tests.samples import ParcelSent


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()
    found = set(references(document))
    assert len(found) > 5
    assert all(at(document, each) is not None for each in found)


def test_what_is_sent_and_who_receives_it() -> None:
    consumer("parcel.weigh_it", on=[ParcelSent], retry=Retry(times=2, delays=(5,)))(lambda event: None)
    document = asyncapi()
    assert "parcel.weighed.v1" not in document["channels"], "internal events are sent to nobody"
    channel = document["channels"]["parcel.sent.v1"]
    assert channel["bindings"]["amqp"]["exchange"]["name"] == "events"
    [received] = [each for each in document["operations"].values() if each.get("title") == "parcel.weigh_it"]
    assert received["channel"] == {"$ref": "#/channels/parcel.sent.v1"}
    assert received["x-queue"]["name"] == "parcel.weigh_it"
    assert received["x-queue"]["arguments"]["x-queue-type"] == "quorum"
    assert received["x-queue"]["deadLetters"] == "parcel.weigh_it.dead"
    assert received["x-retries"] == {"times": 2, "delays": [5], "maxAge": 3600}


def test_its_schemas_take_what_is_on_the_wire() -> None:
    document = asyncapi()
    payload = {"$ref": "#/components/schemas/parcel.sent-1.0", "components": document["components"]}
    judge = jsonschema_rs.Draft202012Validator(payload)
    body = json.loads(on_the_wire(ParcelSent(parcel_id="p-1")))
    judge.validate(body)
    assert not judge.is_valid(body | {"data": {}})


def test_an_older_version_says_by_which_one_it_is_superseded() -> None:
    class ParcelSentTwo(Event, type="parcel.sent", version="2.0", aggregate="parcel_id"):
        """The next one."""

        parcel_id: str

    assert ("parcel.sent", "1", "2") not in CASTS
    messages = asyncapi()["components"]["messages"]
    assert messages["parcel.sent-1.0"]["x-superseded-by"] == "parcel.sent-2.0"
    assert "x-superseded-by" not in messages["parcel.sent-2.0"]


def test_the_command_prints_it() -> None:
    out = StringIO()
    call_command("export_asyncapi", stdout=out)
    assert json.loads(out.getvalue()) == json.loads(json.dumps(asyncapi()))
