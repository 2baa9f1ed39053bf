"""Which answer the caller can read: JSON is all there is."""

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """DRF's own would answer 406 to an Accept header that is empty; it says no more than one that is not there."""

    def get_accept_list(self, request: Request) -> list[str]:
        return [media_type for media_type in super().get_accept_list(request) if media_type] or ["*/*"]
