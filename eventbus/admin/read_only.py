"""Admin for tables that are large and are not changed by hand."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

M = TypeVar("M", bound=Model)


class EstimatedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts an unfiltered table by the planner's estimate: counting a million rows takes longer than the page."""

    @cached_property
    def count(self) -> int:
        """The number of rows: exact where a filter is on or the table is small."""
        queryset: Any = self.object_list
        if queryset.query.where:
            return int(queryset.count())
        table = getattr(queryset.model, "counted_in", queryset.model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                # An ordinary table has no partition tree.
                "SELECT coalesce(sum(reltuples), 0)::bigint FROM pg_class WHERE reltuples > 0 AND relkind = 'r' AND "
                "(oid = %s::regclass OR oid IN (SELECT relid FROM pg_partition_tree(%s::regclass)))",
                [table, table],
            )
            row = cursor.fetchone()
        estimate = int(row[0]) if row else 0
        return estimate if estimate > 10_000 else int(queryset.count())


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to read: what changes them is an event or a service, never a form."""

    class Media:
        css = {"all": ["eventbus/read_only.css"]}

    paginator = EstimatedPaginator
    show_full_result_count = False
    list_per_page = 50
    actions: Any = None
    #: Fields with UUIDs, searched by whole ids beside `search_fields`: Django compares them with no other text.
    uuid_search_fields: ClassVar[Sequence[str]] = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        return found | self.having_uuid(queryset, search_term), has_duplicates

    def having_uuid(self, queryset: QuerySet[M], text: str) -> QuerySet[M]:
        """The rows of which one of `uuid_search_fields` is this; none where the text is not a UUID."""
        try:
            wanted = UUID(text.strip())
        except ValueError:
            return queryset.none()
        found = queryset.none()
        for field in self.uuid_search_fields:
            found |= queryset.filter(**{field: wanted})
        return found

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
