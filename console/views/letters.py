"""Dead letters as work that is done: read what failed, try it, replay it, resolve it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from console import access, activity
from console.formats import number
from console.pages import page, show
from eventbus import pipeline
from eventbus.pipeline import DryRunRefused, GroupInFull

#: From so many letters on whoever replays them types how many they are.
MANY = 10


@page(access.VIEW_LETTERS, methods=("GET", "HEAD", "POST"))
def letters(request: HttpRequest) -> HttpResponse:
    """The groups, and one of them in full. A POST tries some letters of that one, and changes nothing."""
    state = request.GET.get("state", "")
    state = state if state in pipeline.STATES else "open"
    groups = pipeline.letter_groups(state, request.GET.get("consumer", "")[:200])
    chosen = request.GET.get("group", "")
    found = pipeline.letter_group(int(chosen)) if chosen.isdecimal() and len(chosen) < 16 else None
    trials: list[Any] = []
    if request.method == "POST":
        access.demand(request, access.REPLAY)
        trials = _try(request, found)
    return show(
        request,
        "letters",
        groups=groups,
        found=found,
        state=state,
        states=pipeline.STATES,
        trials=trials,
        many=MANY,
        may=access.allowed(
            request,
            replay=access.REPLAY,
            resolve=access.RESOLVE,
            discard=access.DISCARD,
            letters="eventbus.view_deadletter",
            pipeline=access.VIEW_PIPELINE,
        ),
    )


def _try(request: HttpRequest, found: GroupInFull | None) -> list[Any]:
    if found is None:
        return []
    try:
        return list(pipeline.try_group(found.group.row.pk))
    except DryRunRefused as refusal:
        messages.warning(request, str(refusal))
        return []


def _group(group_id: int) -> GroupInFull:
    found = pipeline.letter_group(group_id)
    if found is None:
        raise Http404(f"There is no group {group_id} of dead letters: never, or it was dropped after its days.")
    return found


def _back(group_id: int) -> HttpResponseRedirect:
    return redirect(f"{reverse('console:letters')}?state=all&group={group_id}")


class ReplayForm(forms.Form):
    rate = forms.FloatField(min_value=0.1, max_value=100_000, required=False)
    number = forms.IntegerField(required=False)


@page(access.VIEW_LETTERS, access.REPLAY, methods=("POST",))
def replay(request: HttpRequest, group_id: int) -> HttpResponse:
    """Send a group's open letters to their consumer again."""
    found, form = _group(group_id), ReplayForm(request.POST)
    opened = found.group.opened
    if not form.is_valid():
        messages.error(request, "The rate is a number of letters a second; empty: no limit.")
    elif opened > MANY and form.cleaned_data["number"] != opened:
        messages.error(request, f"{number(opened)} letters are open now: type this number to replay them all.")
    elif sent := pipeline.replay_group(found.group.row, by=request.user.get_username(), rate=form.cleaned_data["rate"]):
        activity.note(request, "eventbus.deadlettergroup", group_id, f"Replayed {sent} letters.")
        messages.success(
            request, f"{number(sent)} go to {found.group.row.consumer} again: one, then ten, then the rest."
        )
    else:
        messages.warning(request, "None of these letters is open any more: somebody was faster.")
    return _back(group_id)


@page(access.VIEW_LETTERS, access.DISCARD, methods=("POST",))
def discard(request: HttpRequest, group_id: int) -> HttpResponse:
    """Give a group's open letters up for good."""
    found, reason = _group(group_id), request.POST.get("reason", "").strip()[:500]
    if not reason or not reason.isprintable():
        messages.error(request, "Say in one line why: a letter is not discarded without a reason.")
        return _back(group_id)
    gone = pipeline.discard_group(found.group.row, reason=reason, by=request.user.get_username())
    activity.note(request, "eventbus.deadlettergroup", group_id, f"Discarded {gone} letters: {reason}")
    messages.success(request, f"Discarded {number(gone)}: {reason}")
    return _back(group_id)


@page(access.VIEW_LETTERS, access.RESOLVE, methods=("POST",))
def resolve(request: HttpRequest, group_id: int) -> HttpResponse:
    """Note that the cause is gone. The note beside the button goes along."""
    found, note = _group(group_id), request.POST.get("note", "").strip()[:10_000]
    if pipeline.resolve_group(found.group.row, note=note, by=request.user.get_username()):
        activity.note(request, "eventbus.deadlettergroup", group_id, f"Resolved. {note}"[:500])
        messages.success(request, "Resolved: the next letter that fails like this marks it as regressed.")
    if found.group.opened:
        messages.warning(request, f"{number(found.group.opened)} of its letters stay open: replay or discard them.")
    return _back(group_id)


@page(access.VIEW_LETTERS, access.RESOLVE, methods=("POST",))
def reopen(request: HttpRequest, group_id: int) -> HttpResponse:
    """Take a resolution back."""
    if pipeline.reopen_group(_group(group_id).group.row):
        activity.note(request, "eventbus.deadlettergroup", group_id, "Opened again.")
    return _back(group_id)
