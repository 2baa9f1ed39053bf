"""Replays from the archive in Django admin: how far they are, and a form that counts before it starts one."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from eventbus.admin.charts import progress
from eventbus.admin.dead_letters.pages import badge, person, posted
from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import CONSUMERS
from eventbus.leases import RunRefused
from eventbus.replays import runs
from eventbus.replays.models import ArchiveReplay, RunState
from eventbus.replays.runs import Plan
from eventbus.replays.selection import Selection, SelectionError, SideEffectsUnconfirmed


def consumers() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(CONSUMERS)]


def types() -> list[tuple[str, str]]:
    return [(kind, kind) for kind in sorted({each.type for each in CONTRACTS.values() if not each.internal})]


class StartForm(forms.Form):
    consumer = forms.ChoiceField(choices=consumers)
    types = forms.MultipleChoiceField(
        choices=types, required=False, help_text="None chosen: all that the consumer listens to."
    )
    since = forms.DateTimeField(required=False, help_text="Published since then, UTC: 2025-03-01 12:00")
    until = forms.DateTimeField(required=False, help_text="Published before then.")
    aggregate_id = forms.CharField(required=False, help_text="Of this order, product or other aggregate.")
    correlation_id = forms.CharField(required=False)
    rate = forms.FloatField(min_value=0.1, max_value=100_000, required=False, help_text="Events per second at most.")
    side_effects = forms.BooleanField(
        required=False, help_text="Yes, let a consumer act outside the database, such as send mails, for old events."
    )

    def plan(self) -> Plan:
        """What the form would send. Raises SelectionError."""
        given = self.cleaned_data
        named = given["consumer"] if given["side_effects"] else ""
        names = ("types", "since", "until", "aggregate_id", "correlation_id")
        selection = Selection(**{name: given[name] for name in names})
        return runs.plan_replay(runs.consumer_named(given["consumer"], side_effects=named), selection)


@admin.register(ArchiveReplay)
class ArchiveReplayAdmin(ReadOnlyAdmin):
    """Replays, the latest first."""

    list_display = ["number", "consumer", "is_backfill", "created_at", "created_by", "shown_state", "done", "note"]
    list_filter = ["state", "is_backfill"]
    change_list_template = "eventbus/event_replays/list.html"

    class Media:
        css = {"all": ["eventbus/dead_letters.css"]}

    @admin.display(description="replay", ordering="pk")
    def number(self, replay: ArchiveReplay) -> str:
        return str(replay.pk)[:13]

    @admin.display(description="state", ordering="state")
    def shown_state(self, replay: ArchiveReplay) -> SafeString:
        return badge(replay.state)

    @admin.display(description="events")
    def done(self, replay: ArchiveReplay) -> SafeString:
        return progress(replay.sent, 0, replay.total)

    def get_urls(self) -> list[URLPattern]:
        views = {"pause": self.pause, "resume": self.resume, "cancel": self.cancel}
        own = [
            path(f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=f"eventbus_archivereplay_{name}")
            for name, view in views.items()
        ]
        start = path("start/", self.admin_site.admin_view(self.start), name="eventbus_archivereplay_start")
        return [start, *own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How far it is."""
        replay = self.get_object(request, object_id)
        if replay is None:
            raise Http404(f"There is no replay {object_id}.")
        if not self.has_view_permission(request, replay):
            raise PermissionDenied
        return self.page(
            request,
            "replay",
            str(replay),
            replay=replay,
            state=badge(replay.state),
            bar=self.done(replay),
            runs=replay.state == RunState.RUNNING,
            is_over=replay.state in (RunState.DONE, RunState.CANCELLED),
            may_replay=request.user.has_perm("eventbus.replay_events"),
        )

    def start(self, request: HttpRequest) -> HttpResponse:
        """A form; then what it would send; then it starts."""
        if not request.user.has_perm("eventbus.replay_events"):
            raise PermissionDenied
        form = StartForm(request.POST or None)
        plan = None
        if form.is_valid():
            try:
                plan = form.plan()
            except SideEffectsUnconfirmed as error:
                form.add_error("side_effects", str(error))
            except SelectionError as error:
                form.add_error(None, str(error))
            if plan and "confirmed" in request.POST:
                replay = runs.start_replay(plan, by=person(request), rate=form.cleaned_data["rate"])
                if replay is not None:
                    self.log_change(request, replay, f"Started with {replay.total} event{pluralize(replay.total)}.")
                    return redirect("admin:eventbus_archivereplay_change", replay.pk)
        return self.page(request, "start", "Replay archive to one consumer", form=form, plan=plan)

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        known = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"eventbus/event_replays/{template}.html", {**known, **context})

    def move(self, request: HttpRequest, pk: UUID, verb: Callable[..., None], word: str) -> HttpResponse:
        try:
            verb(pk, by=person(request))
            self.log_change(request, ArchiveReplay.objects.get(pk=pk), word)
        except RunRefused as error:
            messages.warning(request, str(error))
        return redirect("admin:eventbus_archivereplay_change", pk)

    @posted("replay_events")
    def pause(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self.move(request, pk, runs.pause_replay, "Paused.")

    @posted("replay_events")
    def resume(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self.move(request, pk, runs.resume_replay, "Resumed.")

    @posted("replay_events")
    def cancel(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self.move(request, pk, runs.cancel_replay, "Cancelled.")
