"""Filters over large tables."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from eventbus.contracts.registry import CONTRACTS
from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup
from eventbus.declaration import CONSUMERS
from eventbus.errors import Reason


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
        return sorted({*CONSUMERS, *grouped})


class ByReason(Choice):
    title = "reason"
    parameter_name = "reason"

    def known(self) -> list[str]:
        return [reason.value for reason in Reason]


class ByType(Choice):
    title = "event type"
    parameter_name = "event_type"

    def known(self) -> list[str]:
        return sorted({event_type for event_type, _ in CONTRACTS})


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
