"""What an endpoint says of itself, for the OpenAPI document and its page. What follows from its view and its address,
such as who may call it, need not be said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from api.query import Query

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem of this endpoint's own: its status, what its `type` ends in, and when it comes."""

    status: int
    kind: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method of an endpoint.

    `answers` is None where the answer has no model of ours. `keyed`: it takes an Idempotency-Key; `cached`: it answers
    304 to who has it already. `takes` and `sends` are headers with what they mean; those of all endpoints go unsaid.
    """

    id: str
    tag: str
    answers: type[BaseModel] | None
    status: int = 200
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    body_optional: bool = False
    keyed: bool = False
    cached: bool = False
    takes: Mapping[str, str] = field(default_factory=dict)
    sends: Mapping[str, str] = field(default_factory=dict)
    refuses: tuple[Refusal, ...] = ()


_declared: dict[object, Operation] = {}


def operation(told: Operation) -> Callable[[F], F]:
    """Declares a view's method."""

    def declare(method: F) -> F:
        _declared[method] = told
        return method

    return declare


def declared(method: object) -> Operation:
    """What a view's method says of itself. Raises LookupError for one that says nothing."""
    try:
        return _declared[method]
    except KeyError:
        raise LookupError(f"{method} is in no document. Declare it with @operation(…): see orders.api.") from None
