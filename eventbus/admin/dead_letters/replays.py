"""The pages of dead-letter replays: how far they are, and the buttons that steer them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from eventbus.admin.charts import progress
from eventbus.admin.dead_letters.pages import PERMISSIONS, LetterTools, badge, person, posted
from eventbus.dead_letters import replays
from eventbus.dead_letters.models import DeadLetterReplay, ReplayOutcome, ReplayState
from eventbus.dead_letters.replay_driver import tally_of
from eventbus.leases import RunRefused


@admin.register(DeadLetterReplay)
class ReplayAdmin(LetterTools):
    """Replays and how far they are."""

    list_display = ["number", "created_at", "created_by", "shown_state", "done", "note"]
    list_filter = ["state"]

    @admin.display(description="replay", ordering="pk")
    def number(self, replay: DeadLetterReplay) -> str:
        return str(replay.pk)[:13]

    @admin.display(description="state", ordering="state")
    def shown_state(self, replay: DeadLetterReplay) -> SafeString:
        return badge(replay.state)

    @admin.display(description="dead letters")
    def done(self, replay: DeadLetterReplay) -> SafeString:
        counts = replays.outcomes(replay.pk)
        return progress(counts[ReplayOutcome.REPLAYED], counts[ReplayOutcome.FAILED], replay.total)

    def get_urls(self) -> list[URLPattern]:
        views = {"pause": self.pause, "resume": self.resume, "cancel": self.cancel}
        own = [
            path(f"<uuid:pk>/{name}/", self.admin_site.admin_view(view), name=f"eventbus_deadletterreplay_{name}")
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
            f"Replay of {replay.total} dead letter{pluralize(replay.total)}",
            replay=replay,
            state=badge(replay.state),
            tally=tally,
            bar=progress(tally.replayed, tally.failed, replay.total),
            failed=replay.items.filter(outcome=ReplayOutcome.FAILED)
            .select_related("letter")
            .defer("letter__body")[:50],
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
        except RunRefused as error:
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
