"""What the bus tells other programs of itself, made of the declarations: one of its public modules."""

from eventbus.documents.describing import asyncapi

__all__ = ["asyncapi"]
