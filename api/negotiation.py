"""Which answer the caller can read: JSON is all there is."""

from collections.abc import Iterable

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """DRF's own would answer 406 to an Accept header that is empty; it says no more than one that is not there."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        # What nearly everybody says need not be weighed.
        if request.META.get("HTTP_ACCEPT", "*/*") in ("", "*/*", first.media_type):
            return first, first.media_type
        found: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return found

    def get_accept_list(self, request: Request) -> list[str]:
        return [media_type for media_type in super().get_accept_list(request) if media_type] or ["*/*"]
