"""What the bus tells other programs of itself, made of the declarations: one of its public modules."""

from eventbus.documents.describing import asyncapi
from eventbus.documents.fields import Field, fields_of
from eventbus.documents.listing import catalogue, page_of
from eventbus.schemas.writing import PlainJsonSchema

__all__ = ["Field", "PlainJsonSchema", "asyncapi", "catalogue", "fields_of", "page_of"]
