"""The events as an AsyncAPI 3.0 document: what is sent where, in which form, and who of ours receives it.

The AMQP binding has no words for a queue's arguments, nor for binding a queue to a routing key: those, and retries, are
in fields of our own, `x-…`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from eventbus.broker.topology import EVENTS, consumer_queue
from eventbus.conf import bus_settings
from eventbus.contracts.casting import majors
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import major
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.schemas.folder import example_of
from eventbus.schemas.writing import schema_of

BINDING = "0.3.0"
EXCHANGE = {"name": EVENTS, "type": "topic", "durable": True, "autoDelete": False}
CLOUD_EVENTS = ("specversion", "id", "source", "type", "subject", "time", "dataschema")
INTRODUCTION = (
    "Events are published to the topic exchange `{exchange}`, each under its type and major version. Bind a durable "
    "queue of your own to the keys that you want, and acknowledge what you have handled: an event may come more than "
    "once, under the same `eventId`. Pass over fields that you don't know. CloudEvents attributes are in the headers; "
    "on AMQP 0-9-1 that is a convention."
)


def asyncapi() -> dict[str, Any]:
    """The document. Internal events are not in it: they are sent to nobody."""
    contracts = sorted((each for each in CONTRACTS.values() if not each.internal), key=_place)
    receiving = (op for name in sorted(CONSUMERS) for op in _receiving(CONSUMERS[name], contracts))
    schemas = {name: schema for each in contracts for name, schema in _schemas(each)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {bus_settings.USER_AGENT}",
            "version": bus_settings.CODE_VERSION,
            "description": INTRODUCTION.format(exchange=EVENTS),
        },
        "defaultContentType": "application/json",
        "channels": {each.routing_key(): _channel(each) for each in contracts},
        "operations": dict(_sending(each) for each in contracts) | dict(receiving),
        "components": {
            "messages": {_name(each): _message(each) for each in contracts},
            "schemas": schemas | {"Headers": _headers()},
        },
    }


def _place(contract: type[Event]) -> tuple[str, int]:
    return contract.type, int(major(contract.version))


def _name(contract: type[Event]) -> str:
    return f"{contract.type}-{contract.version}"


def _channel(contract: type[Event]) -> dict[str, Any]:
    key = contract.routing_key()
    return {
        "address": key,
        "title": f"{contract.type} {major(contract.version)}.x",
        "messages": {_name(contract): {"$ref": f"#/components/messages/{_name(contract)}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": EXCHANGE, "bindingVersion": BINDING}},
    }


def _message(contract: type[Event]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": contract.type,
        "title": f"{contract.type} {contract.version}",
        "summary": (contract.__doc__ or "").partition("\n\n")[0],
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/metadata/correlationId"},
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{_name(contract)}"},
        "bindings": {"amqp": {"contentEncoding": "utf-8", "messageType": contract.type, "bindingVersion": BINDING}},
        "x-schema": f"{bus_settings.SCHEMA_URL}/{contract.type}/{contract.version}",
    }
    if (example := example_of(contract.type, contract.version)) is not None:
        message["examples"] = [{"payload": example}]
    newest = majors(contract.type)[-1]
    if newest != major(contract.version):
        message["x-superseded-by"] = _name(CONTRACTS[contract.type, newest])
    return message


def _sending(contract: type[Event]) -> tuple[str, dict[str, Any]]:
    return f"send.{contract.routing_key()}", {
        "action": "send",
        "summary": f"{contract.type} is published, persistent and confirmed.",
        **_on(contract),
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True, "bindingVersion": BINDING}},
    }


def _receiving(consumer: Consumer, contracts: Iterable[type[Event]]) -> Iterator[tuple[str, dict[str, Any]]]:
    queue = consumer_queue(consumer)
    for contract in contracts:
        key = contract.routing_key()
        if key in consumer.routing_keys:
            yield (
                f"{consumer.name}.{key}",
                {
                    "action": "receive",
                    "title": consumer.name,
                    "summary": (consumer.handler.__doc__ or consumer.name).partition("\n\n")[0],
                    **_on(contract),
                    "bindings": {"amqp": {"ack": True, "bindingVersion": BINDING}},
                    "x-queue": {"name": queue.name, "arguments": queue.arguments, "deadLetters": consumer.dead_queue},
                    "x-retries": {
                        "times": consumer.retry.times,
                        "delays": list(consumer.retry.delays),
                        "maxAge": consumer.retry.max_age,
                    },
                },
            )


def _on(contract: type[Event]) -> dict[str, Any]:
    channel = f"#/channels/{contract.routing_key()}"
    return {"channel": {"$ref": channel}, "messages": [{"$ref": f"{channel}/messages/{_name(contract)}"}]}


def _schemas(contract: type[Event]) -> Iterator[tuple[str, Any]]:
    """The contract's schema and its parts, each under a name that is the document's own."""
    schema = schema_of(contract)
    parts = schema.pop("$defs")
    for word in ("$schema", "$id"):
        del schema[word]
    yield _name(contract), _moved(schema, _name(contract))
    for name, part in parts.items():
        yield f"{_name(contract)}.{name}", _moved(part, _name(contract))


def _moved(schema: Any, owner: str) -> Any:
    """The schema with its references to where the parts are now."""
    if isinstance(schema, list):
        return [_moved(each, owner) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {word: _moved(each, owner) for word, each in schema.items()}
    if isinstance(ref := found.get("$ref"), str):
        found["$ref"] = f"#/components/schemas/{owner}.{ref.removeprefix('#/$defs/')}"
    return found


def _headers() -> dict[str, Any]:
    names = [f"cloudEvents_{name}" for name in CLOUD_EVENTS]
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
