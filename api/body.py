"""Reading a body strictly into a pydantic model."""

from typing import TypeVar

from pydantic import BaseModel
from rest_framework.request import Request

from api.problems import validating
from api.strict_json import read_json

M = TypeVar("M", bound=BaseModel)


def read_body(model: type[M], request: Request, *, optional: bool = False) -> M:
    """The body as this model; a missing one that is optional counts as `{}`.

    Raises a Problem: 413, 415 or 400 for what cannot be read, 422 that points to everything wrong with the rest.
    """
    data = read_json(request, optional=optional)
    with validating("body"):
        return model.model_validate(data)
