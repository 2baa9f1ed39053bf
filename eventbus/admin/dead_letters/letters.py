"""The pages of single dead letters: read, try, edit."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventbus.admin.dead_letters.filters import ByAge, ByConsumer, ByReason, ByType
from eventbus.admin.dead_letters.pages import PERMISSIONS, LetterTools, badge, person, posted, short
from eventbus.admin.read_only import EstimatedPaginator
from eventbus.dead_letters import queries, services
from eventbus.dead_letters.dry_run import DryRunRefused, dry_run
from eventbus.dead_letters.models import DeadLetter
from eventbus.dead_letters.selection import Selection


class EditForm(forms.Form):
    # Not stripped: what is sent is what was typed.
    body = forms.CharField(max_length=1_000_000, strip=False, widget=forms.Textarea(attrs={"rows": 28, "cols": 110}))


class UpToPaginator(EstimatedPaginator):
    """Counts no further than anybody would turn pages: a filter may leave nearly all of a million letters."""

    @cached_property
    def count(self) -> int:
        letters: Any = self.object_list
        if letters.query.where:
            return int(letters.order_by().values("pk")[:PAGED].count())
        return super().count


PAGED = 50_000


@admin.register(DeadLetter)
class LetterAdmin(LetterTools):
    """Single dead letters, the latest first."""

    list_display = ["number", "failed_at", "consumer", "event_type", "aggregate_id", "failure", "shown_state"]
    list_filter = ["state", ByAge, ByConsumer, ByType, ByReason]
    paginator = UpToPaginator
    # Exactly as written: without regard to case it would not find its index.
    search_fields = ["aggregate_id__exact", "correlation_id__exact"]
    uuid_search_fields = ["event_id"]
    search_help_text = "A whole order, event or correlation id"
    actions = ["replay_letters", "discard_letters"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        return super().get_queryset(request).defer("traceback", "body", "headers", "attempts")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "group__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description="dead letter", ordering="pk")
    def number(self, letter: DeadLetter) -> str:
        return str(letter.pk)

    @admin.display(description="error")
    def failure(self, letter: DeadLetter) -> SafeString:
        return format_html(
            '<span class="dl-error">{}</span> <span class="dl-quiet">{}</span>',
            short(letter.error_class),
            letter.error_message[:100],
        )

    @admin.display(description="state", ordering="state")
    def shown_state(self, letter: DeadLetter) -> SafeString:
        return badge(letter.state)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.replay_dead_letter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.discard_dead_letter")

    @admin.action(description="Retry dead letters", permissions=["replay"])
    def replay_letters(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        return self.replay(request, of_letters(letters), "Retry these dead letters?", request.get_full_path())

    @admin.action(description="Discard dead letters", permissions=["discard"])
    def discard_letters(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        return self.discard(request, of_letters(letters), "Discard these dead letters?", request.get_full_path())

    def get_urls(self) -> list[URLPattern]:
        views = {"replay": self.replay_one, "discard": self.discard_one, "try": self.try_one, "edit": self.edit}
        own = [
            path(f"<path:pk>/{name}/", self.admin_site.admin_view(view), name=f"eventbus_deadletter_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All that is known of a dead letter. Its payload is for those who may read it."""
        return self.show(request, self.found(request, object_id))

    def show(self, request: HttpRequest, letter: DeadLetter, **more: Any) -> HttpResponse:
        may = {name: request.user.has_perm(f"eventbus.{permission}") for name, permission in PERMISSIONS.items()}
        items = letter.replays.select_related("replay", "edit").order_by("pk")
        history = [(item, queries.diff(letter, item.edit) if item.edit and may["read"] else "") for item in items]
        return self.page(
            request,
            "letter",
            str(letter),
            letter=letter,
            state=badge(letter.state),
            payload=queries.payload(letter) if may["read"] else None,
            history=history,
            may=may,
            is_open=letter.state == "open",
            **more,
        )

    @posted("replay_dead_letter")
    def replay_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        letter = self.found(request, pk)
        return self.replay(request, Selection(ids=[letter.pk]), f"Retry {letter}?", self.back_to(letter).url)

    @posted("discard_dead_letter")
    def discard_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        letter = self.found(request, pk)
        return self.discard(request, Selection(ids=[letter.pk]), f"Discard {letter}?", self.back_to(letter).url)

    @posted("replay_dead_letter")
    def try_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Run the handler, roll back, and show what it would have done."""
        letter = self.found(request, pk)
        try:
            trial = dry_run(letter)
        except DryRunRefused as error:
            messages.warning(request, str(error))
            return self.back_to(letter)
        if not request.user.has_perm("eventbus.view_dead_letter_payload"):
            # What a handler publishes repeats what it was given.
            for event in trial.published:
                event.pop("data")
        return self.show(request, letter, trial=trial)

    def edit(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Edit the payload: a form, then the difference to confirm, then it goes."""
        if not all(request.user.has_perm(f"eventbus.{PERMISSIONS[name]}") for name in ("edit", "read")):
            raise PermissionDenied
        letter = self.found(request, pk)
        if request.method != "POST":
            form = EditForm(initial={"body": queries.payload(letter)})
            return self.page(request, "edit", f"Edit and retry {letter}", letter=letter, form=form)
        form = EditForm(request.POST)
        changes = ""
        if form.is_valid():
            body = form.cleaned_data["body"]
            try:
                services.check_edit(letter, body)
                if "confirmed" in request.POST:
                    replay = services.edit_and_replay(letter, body, by=person(request))
                    self.log_change(request, letter, "Edited and retried.")
                    return redirect("admin:eventbus_deadletterreplay_change", replay.pk)
                changes = queries.changes(queries.payload(letter), body, person(request)) or "(nothing is changed)"
            except services.EditRefused as error:
                form.add_error("body", str(error))
        return self.page(request, "edit", f"Edit and retry {letter}", letter=letter, form=form, changes=changes)


def of_letters(letters: QuerySet[DeadLetter]) -> Selection:
    return Selection(ids=list(letters.order_by().values_list("pk", flat=True)))
