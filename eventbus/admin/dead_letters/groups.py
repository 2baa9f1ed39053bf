"""The pages of groups: what failed alike."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventbus.admin.charts import bars
from eventbus.admin.dead_letters.filters import ByConsumer
from eventbus.admin.dead_letters.pages import PERMISSIONS, LetterTools, badge, person, posted, short
from eventbus.dead_letters import queries, services
from eventbus.dead_letters.models import DeadLetterGroup
from eventbus.dead_letters.queries import COUNT_LIMIT
from eventbus.dead_letters.selection import Selection


class NoteForm(forms.Form):
    note = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3, "cols": 80}))


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

    @admin.action(description="Retry the open dead letters", permissions=["replay"])
    def replay_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> HttpResponse:
        return self.replay(request, of_groups(groups), "Retry these groups?", request.get_full_path())

    @admin.action(description="Discard the open dead letters", permissions=["discard"])
    def discard_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> HttpResponse:
        return self.discard(
            request, of_groups(groups), "Discard the dead letters of these groups?", request.get_full_path()
        )

    @admin.action(description="Mark as resolved", permissions=["resolve"])
    def resolve_groups(self, request: HttpRequest, groups: QuerySet[DeadLetterGroup]) -> None:
        resolved = [group for group in groups if services.resolve_group(group, by=person(request))]
        for group in resolved:
            self.log_change(request, group, "Resolved.")
        messages.success(
            request,
            f"Resolved {len(resolved)} group{pluralize(len(resolved))}. A new dead letter marks one as regressed.",
        )

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
        """What is known of a group, and its latest dead letters."""
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
        return self.replay(request, of_groups([group]), f"Retry {group}?", self.back_to(group).url)

    @posted("discard_dead_letter")
    def discard_one(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        return self.discard(request, of_groups([group]), f"Discard {group}?", self.back_to(group).url)

    @posted("resolve_dead_letter_group")
    def resolve(self, request: HttpRequest, pk: str) -> HttpResponse:
        group = self.found(request, pk)
        # The note beside the button is part of what is said by it.
        self._keep_note(request, group)
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
        self._keep_note(request, group)
        return self.back_to(group)

    def _keep_note(self, request: HttpRequest, group: DeadLetterGroup) -> None:
        form = NoteForm(request.POST)
        if "note" in request.POST and form.is_valid() and form.cleaned_data["note"] != group.note:
            DeadLetterGroup.objects.filter(pk=group.pk).update(note=form.cleaned_data["note"])
            self.log_change(request, group, "Changed the note.")


def of_groups(groups: Any) -> Selection:
    return Selection(groups=[group.fingerprint for group in groups])
