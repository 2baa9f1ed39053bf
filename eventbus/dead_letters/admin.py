"""Dead letters in Django admin: groups first, then letters, then replays.

Whatever changes something is a POST with a confirmation page and a permission of its own.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventbus import declarations
from eventbus.admin_tools import EstimatedPaginator, ReadOnlyAdmin, by_uuid
from eventbus.contracts import Event
from eventbus.dead_letters import queries, replays, services
from eventbus.dead_letters.charts import bars, progress
from eventbus.dead_letters.driver import tally_of
from eventbus.dead_letters.letters import REASONS
from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup, Outcome, Replay, ReplayState
from eventbus.dead_letters.queries import COUNT_LIMIT
from eventbus.dead_letters.selection import Selection
from eventbus.dead_letters.trial import NotTried, try_letter
from eventbus.leased_runs import Refused

View = Callable[..., HttpResponse]


def posted(permission: str) -> Callable[[View], View]:
    """A page that only POST reaches, and only with this permission."""

    def declare(view: View) -> View:
        @wraps(view)
        def guarded(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if not request.user.has_perm(f"eventbus.{permission}"):
                raise PermissionDenied
            return view(self, request, *args, **kwargs)

        return guarded

    return declare


def person(request: HttpRequest) -> str:
    return request.user.get_username()


def badge(state: str) -> SafeString:
    """A state as a coloured word."""
    return format_html('<span class="dl-badge dl-{}">{}</span>', state, state)


def link(to: str, pk: object, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:eventbus_{to}_change", args=[pk]), text)


def short(error_class: str) -> str:
    return error_class.rsplit(".", 1)[-1]


class Choice(admin.SimpleListFilter):
    """A filter over known values: asking a large table which it has would read all of it."""

    def known(self) -> list[str]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, value) for value in self.known()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class ByConsumer(Choice):
    title = "consumer"
    parameter_name = "consumer"

    def known(self) -> list[str]:
        # Those of the groups too: a consumer may have gone and left its letters.
        grouped = DeadLetterGroup.objects.values_list("consumer", flat=True).distinct()
        return sorted({*declarations.registry, *grouped})


class ByReason(Choice):
    title = "reason"
    parameter_name = "reason"

    def known(self) -> list[str]:
        return list(REASONS)


class ByType(Choice):
    title = "event type"
    parameter_name = "event_type"

    def known(self) -> list[str]:
        return sorted({event_type for event_type, _ in Event.registry})


class ByAge(admin.SimpleListFilter):
    title = "failed"
    parameter_name = "failed"
    hours = {"1": "in the last hour", "24": "in the last day", "168": "in the last 7 days"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.hours.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        if self.value() not in self.hours:
            return queryset
        return queryset.filter(failed_at__gte=timezone.now() - timedelta(hours=int(self.value() or 0)))


class LetterTools(ReadOnlyAdmin):
    """What the three pages share."""

    class Media:
        css = {"all": ["eventbus/dead_letters.css"]}

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        return TemplateResponse(
            request,
            f"eventbus/dead_letters/{template}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "media": self.media,
                **context,
            },
        )

    def found(self, request: HttpRequest, pk: str) -> Any:
        """The row, or 404; refused to those who may not see it."""
        found = self.get_object(request, pk)
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {pk}: never, or it was dropped after its days.")
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def back_to(self, row: Model) -> HttpResponseRedirect:
        return redirect(reverse(f"admin:eventbus_{self.opts.model_name}_change", args=[row.pk]))

    def replay(self, request: HttpRequest, selection: Selection, title: str, back: str) -> HttpResponse:
        """Ask, then start a replay and show it."""
        form = ReplayForm(request.POST if "confirmed" in request.POST else None)
        if "confirmed" in request.POST and form.is_valid():
            replay = replays.start_replay(
                selection,
                by=person(request),
                rate=form.cleaned_data["rate"],
                threshold=form.cleaned_data["threshold"] / 100,
            )
            if replay is not None:
                self.log_change(request, replay, f"Started with {replay.total} letters.")
                return redirect("admin:eventbus_replay_change", replay.pk)
            messages.warning(request, "None of these letters is open any more.")
            return redirect(back)
        return self.ask(request, selection, title, back, form, "Replay", REPLAY_TEXT)

    def discard(self, request: HttpRequest, selection: Selection, title: str, back: str) -> HttpResponse:
        """Ask for a reason, then discard."""
        form = DiscardForm(request.POST if "confirmed" in request.POST else None)
        if "confirmed" in request.POST and form.is_valid():
            reason = form.cleaned_data["reason"]
            discarded = services.discard(selection, reason=reason, by=person(request))
            messages.success(request, f"Discarded {discarded} letters: {reason}")
            return redirect(back)
        return self.ask(request, selection, title, back, form, "Discard", DISCARD_TEXT)

    def ask(
        self,
        request: HttpRequest,
        selection: Selection,
        title: str,
        back: str,
        form: forms.Form,
        verb: str,
        text: str,
    ) -> HttpResponse:
        """The confirmation page. What the first POST chose goes along to the second."""
        found = selection.unsettled().order_by("pk").values_list("pk", flat=True)[: COUNT_LIMIT + 1].count()
        kept = ["action", "select_across", "index", ACTION_CHECKBOX_NAME]
        return self.page(
            request,
            "confirm",
            title,
            form=form,
            verb=verb,
            text=text,
            found=f"more than {COUNT_LIMIT}" if found > COUNT_LIMIT else found,
            hidden=[(name, value) for name in kept for value in request.POST.getlist(name)],
            back=back,
        )


REPLAY_TEXT = (
    "Each letter goes back to the one consumer that could not process it. It begins with one letter, then ten, then "
    "the rest, and stops by itself when too many fail again."
)
DISCARD_TEXT = "Discarded letters are never processed. They can be read until they are dropped."


class ReplayForm(forms.Form):
    rate = forms.FloatField(
        min_value=0.1, max_value=100_000, required=False, help_text="Letters per second at most; empty: no limit."
    )
    threshold = forms.FloatField(
        min_value=0, max_value=100, initial=replays.THRESHOLD * 100, help_text="Stop when more per cent fail again."
    )


class DiscardForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"size": 80}), help_text="Why; it is kept.")


class NoteForm(forms.Form):
    note = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3, "cols": 80}))


class EditForm(forms.Form):
    # Not stripped: what is sent is what was typed.
    body = forms.CharField(max_length=1_000_000, strip=False, widget=forms.Textarea(attrs={"rows": 28, "cols": 110}))


class GroupChangeList(ChangeList):
    """Counts for the groups of one page, in two queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        groups: list[Any] = list(self.result_list)
        ids = [group.pk for group in groups]
        opened, days = queries.open_letters(ids), queries.per_day(ids)
        for group in groups:
            group.opened, group.days = opened[group.pk], days[group.pk]
        self.result_list = groups


@admin.register(DeadLetterGroup)
class GroupAdmin(LetterTools):
    """Failures that are alike, the latest first."""

    list_display = ["failure", "shown_state", "open_now", "last_14_days", "seen", "last_seen"]
    list_filter = ["state", ByConsumer]
    search_fields = ["fingerprint", "error_class", "place", "sample"]
    search_help_text = "A part of an error's class, message or place, or a group's id"
    actions = ["replay_groups", "discard_groups", "resolve_groups"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GroupChangeList

    @admin.display(description="failure", ordering="error_class")
    def failure(self, group: DeadLetterGroup) -> SafeString:
        return format_html(
            '<span class="dl-error">{} in {}</span><br><code>{}</code><br><span class="dl-quiet">{}</span>',
            short(group.error_class),
            group.consumer,
            group.place,
            group.sample[:120],
        )

    @admin.display(description="state", ordering="state")
    def shown_state(self, group: DeadLetterGroup) -> SafeString:
        return badge(group.state)

    @admin.display(description="open")
    def open_now(self, group: Any) -> SafeString:
        number = f"{COUNT_LIMIT:,}+" if group.opened > COUNT_LIMIT else f"{group.opened:,}"
        return format_html('<strong class="{}">{}</strong>', "dl-some" if group.opened else "dl-none", number)

    @admin.display(description="last 14 days")
    def last_14_days(self, group: Any) -> SafeString:
        return bars([(f"{day:%d %b}", letters) for day, letters in group.days], width=112, height=24)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.replay_dead_letter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.discard_dead_letter")

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.resolve_dead_letter_group")

    @admin.action(description="Replay the open letters", permissions=["replay"])
    def replay_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> HttpResponse:
        return self.replay(request, of_groups(groups), "Replay these groups?", request.get_full_path())

    @admin.action(description="Discard the open letters", permissions=["discard"])
    def discard_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> HttpResponse:
        return self.discard(request, of_groups(groups), "Discard the letters of these groups?", request.get_full_path())

    @admin.action(description="Mark as resolved", permissions=["resolve"])
    def resolve_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> None:
        resolved = [group for group in groups if services.resolve_group(group, by=person(request))]
        for group in resolved:
            self.log_change(request, group, "Resolved.")
        messages.success(request, f"Resolved {len(resolved)} groups. A new letter will mark one as regressed.")

    def get_urls(self) -> list[URLPattern]:
        views = {
            "replay": self.replay_one,
            "discard": self.discard_one,
            "resolve": self.resolve,
            "reopen": self.reopen,
            "note": self.note,
        }
        own = [
            path(f"<path:pk>/{name}/", self.admin_site.admin_view(view), name=f"eventbus_deadlettergroup_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What is known of a group, and its latest letters."""
        group = self.found(request, object_id)
        opened = queries.open_letters([group.pk])[group.pk]
        hours = [(f"{hour:%d %b %H:00}", letters) for hour, letters in queries.per_hour(group.pk)]
        days = [(f"{day:%d %b}", letters) for day, letters in queries.per_day([group.pk])[group.pk]]
        return self.page(
            request,
            "group",
            f"{short(group.error_class)} in {group.consumer}",
            group=group,
            state=badge(group.state),
            opened=f"{COUNT_LIMIT:,}+" if opened > COUNT_LIMIT else opened,
            per_hour=bars(hours, width=480, height=64),
            per_day=bars(days, width=480, height=64),
            latest=group.letters.defer("body", "traceback").order_by("-pk")[:10],
            traceback=group.letters.order_by("-pk").values_list("traceback", flat=True).first(),
            form=NoteForm(initial={"note": group.note}),
            may={name: request.user.has_perm(f"eventbus.{permission}") for name, permission in PERMISSIONS.items()},
        )

    @posted("replay_dead_letter")
    def replay_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        return self.replay(request, of_groups([group]), f"Replay {group}?", self.back_to(group).url)

    @posted("discard_dead_letter")
    def discard_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        return self.discard(request, of_groups([group]), f"Discard {group}?", self.back_to(group).url)

    @posted("resolve_dead_letter_group")
    def resolve(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        if services.resolve_group(group, by=person(request)):
            self.log_change(request, group, "Resolved.")
        return self.back_to(group)

    @posted("resolve_dead_letter_group")
    def reopen(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        if services.reopen_group(group):
            self.log_change(request, group, "Opened again.")
        return self.back_to(group)

    @posted("resolve_dead_letter_group")
    def note(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        form = NoteForm(request.POST)
        if form.is_valid():
            DeadLetterGroup.objects.filter(pk=group.pk).update(note=form.cleaned_data["note"])
            self.log_change(request, group, "Changed the note.")
        return self.back_to(group)


PERMISSIONS = {
    "replay": "replay_dead_letter",
    "discard": "discard_dead_letter",
    "edit": "edit_dead_letter",
    "read": "view_dead_letter_payload",
    "resolve": "resolve_dead_letter_group",
}


def of_groups(groups: Any) -> Selection:
    return Selection(groups=[group.fingerprint for group in groups])


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
    """Single letters, the latest first."""

    list_display = ["number", "failed_at", "consumer", "event_type", "aggregate_id", "failure", "shown_state"]
    list_filter = ["state", ByAge, ByConsumer, ByType, ByReason]
    paginator = UpToPaginator
    # Exactly as written: without regard to case it would not find its index.
    search_fields = ["aggregate_id__exact", "correlation_id__exact"]
    search_help_text = "A whole order, event or correlation id"
    actions = ["replay_letters", "discard_letters"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        return super().get_queryset(request).defer("traceback", "body", "headers", "attempts")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        found, distinct = super().get_search_results(request, queryset, search_term)
        return found | by_uuid(queryset, "event_id", search_term), distinct

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "group__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]

    @admin.display(description="letter", ordering="pk")
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

    @admin.action(description="Replay", permissions=["replay"])
    def replay_letters(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        return self.replay(request, of_letters(letters), "Replay these letters?", request.get_full_path())

    @admin.action(description="Discard", permissions=["discard"])
    def discard_letters(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        return self.discard(request, of_letters(letters), "Discard these letters?", request.get_full_path())

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
        """All that is known of a letter. Its payload is for those who may read it."""
        return self.show(request, self.found(request, object_id))

    def show(self, request: HttpRequest, letter: DeadLetter, **more: Any) -> HttpResponse:
        may = {name: request.user.has_perm(f"eventbus.{permission}") for name, permission in PERMISSIONS.items()}
        items = letter.replays.select_related("replay", "edit").order_by("pk")
        history = [(item, queries.diff(letter, item.edit) if item.edit and may["read"] else "") for item in items]
        return self.page(
            request,
            "letter",
            f"Letter {letter.pk} of {letter.consumer}",
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
        return self.replay(request, Selection(ids=[letter.pk]), f"Replay {letter}?", self.back_to(letter).url)

    @posted("discard_dead_letter")
    def discard_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        letter = self.found(request, pk)
        return self.discard(request, Selection(ids=[letter.pk]), f"Discard {letter}?", self.back_to(letter).url)

    @posted("replay_dead_letter")
    def try_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Run the handler, roll back, and show what it would have done."""
        letter = self.found(request, pk)
        try:
            trial = try_letter(letter)
        except NotTried as error:
            messages.warning(request, str(error))
            return self.back_to(letter)
        if not request.user.has_perm("eventbus.view_dead_letter_payload"):
            # What a handler publishes repeats what it was given.
            for event in trial.published:
                event.pop("data")
        return self.show(request, letter, trial=trial)

    def edit(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Mend the payload: a form, then the difference to confirm, then it goes."""
        if not all(request.user.has_perm(f"eventbus.{PERMISSIONS[name]}") for name in ("edit", "read")):
            raise PermissionDenied
        letter = self.found(request, pk)
        if request.method != "POST":
            form = EditForm(initial={"body": queries.payload(letter)})
            return self.page(request, "edit", f"Edit and replay {letter}", letter=letter, form=form)
        form = EditForm(request.POST)
        changes = ""
        if form.is_valid():
            body = form.cleaned_data["body"]
            try:
                services.check_edit(letter, body)
                if "confirmed" in request.POST:
                    replay = services.edit_and_replay(letter, body, by=person(request))
                    self.log_change(request, letter, "Edited and replayed.")
                    return redirect("admin:eventbus_replay_change", replay.pk)
                changes = queries.changes(queries.payload(letter), body, person(request)) or "(nothing is changed)"
            except services.NotMended as error:
                form.add_error("body", str(error))
        return self.page(request, "edit", f"Edit and replay {letter}", letter=letter, form=form, changes=changes)


def of_letters(letters: QuerySet[DeadLetter]) -> Selection:
    return Selection(ids=list(letters.order_by().values_list("pk", flat=True)))


@admin.register(Replay)
class ReplayAdmin(LetterTools):
    """Replays and how far they are."""

    list_display = ["number", "created_at", "created_by", "shown_state", "done", "note"]
    list_filter = ["state"]

    @admin.display(description="replay", ordering="pk")
    def number(self, replay: Replay) -> str:
        return str(replay.pk)[:13]

    @admin.display(description="state", ordering="state")
    def shown_state(self, replay: Replay) -> SafeString:
        return badge(replay.state)

    @admin.display(description="letters")
    def done(self, replay: Replay) -> SafeString:
        counts = replays.outcomes(replay.pk)
        return progress(counts[Outcome.REPLAYED], counts[Outcome.FAILED], replay.total)

    def get_urls(self) -> list[URLPattern]:
        views = {"pause": self.pause, "resume": self.resume, "cancel": self.cancel}
        own = [
            path(f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=f"eventbus_replay_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How far it is, and what failed again."""
        replay = self.found(request, object_id)
        tally = tally_of(replay.pk)
        return self.page(
            request,
            "replay",
            f"Replay of {replay.total} letters",
            replay=replay,
            state=badge(replay.state),
            tally=tally,
            bar=progress(tally.replayed, tally.failed, replay.total),
            failed=replay.items.filter(outcome=Outcome.FAILED).select_related("letter").defer("letter__body")[:50],
            runs=replay.state == ReplayState.RUNNING,
            percent=f"{replay.threshold:.0%}",
            chosen_by=[
                (name, ", ".join(map(str, value)) if isinstance(value, list) else value)
                for name, value in replay.selection.items()
            ],
            may={name: request.user.has_perm(f"eventbus.{permission}") for name, permission in PERMISSIONS.items()},
        )

    def _move(self, request: HttpRequest, pk: UUID, move: Callable[..., None], word: str) -> HttpResponse:
        replay = self.found(request, str(pk))
        try:
            move(replay.pk, by=person(request))
            self.log_change(request, replay, word)
        except Refused as error:
            messages.warning(request, str(error))
        return self.back_to(replay)

    @posted("replay_dead_letter")
    def pause(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._move(request, pk, replays.pause_replay, "Paused.")

    @posted("replay_dead_letter")
    def resume(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._move(request, pk, replays.resume_replay, "Resumed.")

    @posted("replay_dead_letter")
    def cancel(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return self._move(request, pk, replays.cancel_replay, "Cancelled.")
