"""What the bus tells other programs of itself, made of the declarations: one of its public modules."""

from eventbus.documents.describing import asyncapi
from eventbus.schemas.writing import PlainJsonSchema

__all__ = ["PlainJsonSchema", "asyncapi"]
