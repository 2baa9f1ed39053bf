"""What the pages of groups, dead letters and their replays share: frames, guards and confirmations.

Whatever changes something is a POST with a confirmation page and a permission of its own.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.dead_letters import replays, services
from eventbus.dead_letters.queries import COUNT_LIMIT
from eventbus.dead_letters.selection import Selection

PERMISSIONS = {
    "replay": "replay_dead_letter",
    "discard": "discard_dead_letter",
    "edit": "edit_dead_letter",
    "read": "view_dead_letter_payload",
    "resolve": "resolve_dead_letter_group",
}


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


RETRY_TEXT = (
    "Each dead letter goes back to the one consumer that could not process it. It begins with one, then ten, then "
    "the rest, and stops by itself when too many fail again."
)
DISCARD_TEXT = "Discarded dead letters are never processed. They can be read until they are dropped."


class ReplayForm(forms.Form):
    rate = forms.FloatField(
        min_value=0.1, max_value=100_000, required=False, help_text="How many per second at most; empty: no limit."
    )
    threshold = forms.FloatField(
        min_value=0, max_value=100, initial=replays.THRESHOLD * 100, help_text="Stop when more per cent fail again."
    )


class DiscardForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"size": 80}), help_text="Why; it is kept.")


#: Of so many dead letters that are discarded at once each has a line in admin's log; the row of each says it anyway.
LOGGED = 100


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
                self.log_change(request, replay, f"Started with {replay.total} dead letter{pluralize(replay.total)}.")
                return redirect("admin:eventbus_deadletterreplay_change", replay.pk)
            messages.warning(request, "None of these dead letters is open any more.")
            return redirect(back)
        return self.ask(request, selection, title, back, form, "Retry", RETRY_TEXT)

    def discard(self, request: HttpRequest, selection: Selection, title: str, back: str) -> HttpResponse:
        """Ask for a reason, then discard."""
        form = DiscardForm(request.POST if "confirmed" in request.POST else None)
        if "confirmed" in request.POST and form.is_valid():
            reason = form.cleaned_data["reason"]
            letters = list(selection.unsettled().defer("body", "traceback").order_by("pk")[:LOGGED])
            discarded = services.discard(selection, reason=reason, by=person(request))
            for letter in letters:
                self.log_change(request, letter, f"Discarded: {reason}")
            messages.success(request, f"Discarded {discarded} dead letter{pluralize(discarded)}: {reason}")
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
