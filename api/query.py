"""Reading a query strictly into a pydantic model."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rest_framework.request import Request

from api.fields import PastMoment
from api.problems import invalid, to_pointer, validating, wrong

Q = TypeVar("Q", bound="Query")


class Query(BaseModel):
    """What may stand in an endpoint's query, and nothing else."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class PointInTime(Query):
    """The query of what can be asked for as it was."""

    as_of: PastMoment | None = None


def read_query(model: type[Q], request: Request) -> Q:
    """The query of a request as this model. Raises a Problem with status 400 that points to all that is wrong."""
    repeated = [name for name, values in request.GET.lists() if len(values) > 1]
    if repeated:
        raise invalid("query", [wrong(to_pointer([name]), "repeated", "Give it once.") for name in repeated])
    with validating("query"):
        return model.model_validate(request.GET.dict())


def refuse_query(request: Request) -> None:
    """Raises a Problem with status 400 for a query: this endpoint takes none."""
    if request.GET:
        read_query(Query, request)
