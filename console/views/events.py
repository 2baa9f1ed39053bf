"""The events as they are recorded, the newest first."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from console import access
from console.pages import page, show_live
from console.telling import as_uuid
from eventbus.traces import event_types, latest_events

SHOWN = 50


@page(access.VIEW_PIPELINE)
def events(request: HttpRequest) -> HttpResponse:
    """A page of them; of one type with `?type=`. The first page follows what is recorded."""
    types = event_types()
    chosen = request.GET.get("type", "")
    chosen = chosen if chosen in types else ""
    before: UUID | None = as_uuid(request.GET.get("before", ""))
    found = latest_events(event_type=chosen, before=before, limit=SHOWN + 1)
    return show_live(
        request,
        "events",
        "events",
        events=found[:SHOWN],
        older=found[SHOWN - 1].event_id if len(found) > SHOWN else None,
        types=types,
        chosen=chosen,
        may_read=request.user.has_perm(access.VIEW_PAYLOADS),
    )
