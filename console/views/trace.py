"""The story behind an id, and what can be done about what stopped."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from console import access, activity
from console.pages import page, show_live
from console.telling import Told, answers, as_uuid, story_of_event, told_of_correlation, told_of_order
from console.timeline import timeline
from eventbus import database_time, encode_json
from eventbus.pipeline import hurry_retry, replay_letter

#: An id is no longer than this, whoever made it.
LONGEST_ID = 200


@page(access.VIEW_PIPELINE)
def trace(request: HttpRequest, wanted: str) -> HttpResponse:
    """What happened under an id, step by step; as JSON with `?format=json`."""
    found = as_uuid(wanted)
    told = told_of_order(found) if found else None
    if told is None and found and (told_as := story_of_event(found)):
        return redirect(f"{reverse('console:trace', args=[told_as])}#e-{found}")
    if told is None and len(wanted) <= LONGEST_ID and wanted.isprintable():
        told = told_of_correlation(wanted)
    if told is None:
        raise Http404(f"Nothing is known under {wanted}: neither an order, nor an event, nor a correlation id.")
    if request.GET.get("format") == "json":
        return HttpResponse(encode_json(as_json(request, told)), content_type="application/json")
    return show_live(request, "trace", "trace", **context_of(request, told))


def as_json(request: HttpRequest, told: Told) -> dict[str, Any]:
    """What this person may see of it."""
    found = told.as_json()
    for name, permission in {
        "order": access.VIEW_ORDERS,
        "mails": access.VIEW_MAILS,
        "shipment": access.VIEW_PARCELS,
    }.items():
        if not request.user.has_perm(permission):
            found.pop(name)
    return found


def context_of(request: HttpRequest, told: Told) -> dict[str, Any]:
    """What the pages of a trace and of an order share."""
    now = database_time()
    return {
        "told": told,
        "now": now,
        "answers": answers(told, now),
        "timeline": timeline(told.story, now),
        "may": access.allowed(
            request,
            cancel=access.CANCEL_ORDERS,
            dispatch=access.DISPATCH,
            resend=access.RESEND_MAILS,
            replay=access.REPLAY,
            hurry=access.HURRY,
            payloads=access.VIEW_PAYLOADS,
            pipeline=access.VIEW_PIPELINE,
            order=access.VIEW_ORDERS,
            letters="eventbus.view_deadletter",
        ),
    }


@page(access.REPLAY, methods=("POST",))
def replay(request: HttpRequest, letter_id: int) -> HttpResponse:
    """Send a dead letter to its consumer again."""
    if replay_letter(letter_id, by=request.user.get_username()):
        activity.note(request, "eventbus.deadletter", letter_id, "Replayed.")
        messages.success(request, f"Dead letter {letter_id} goes to its consumer again.")
    else:
        messages.warning(request, f"Dead letter {letter_id} is not open any more: somebody was faster.")
    return back(request)


@page(access.HURRY, methods=("POST",))
def hurry(request: HttpRequest, retry_id: int) -> HttpResponse:
    """Have a retry that waits sent at once."""
    if hurry_retry(retry_id, by=request.user.get_username()):
        activity.note(request, "eventbus.waitingretry", retry_id, "Sent at once.")
        messages.success(request, "The retry is sent at once.")
    else:
        messages.warning(request, "That retry does not wait any more: it is on its way.")
    return back(request)


def back(request: HttpRequest) -> HttpResponseRedirect:
    """To the page that the form was on; home where it does not say."""
    to = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(to, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        to = reverse("console:home")
    return redirect(to)
