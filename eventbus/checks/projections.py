"""System checks of projections: what a rebuild would refuse, found before somebody needs one."""

from collections import Counter
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register
from django.db.models import AutoField, Model

from eventbus.checks.tags import BUS
from eventbus.declaration import CONSUMERS


@register(BUS)
def a_table_has_one_projection(**_: Any) -> list[CheckMessage]:
    """A rebuild fills a table with what one consumer makes of its events, and so loses what another one wrote."""
    owners = Counter(table for consumer in CONSUMERS.values() for table in set(consumer.tables))
    return [
        Error(
            f"The table {table} is declared by several projections: "
            f"{', '.join(sorted(name for name, each in CONSUMERS.items() if table in each.tables))}.",
            hint="Let one consumer listen to all the events that fill it, or give each a table of its own.",
            id="eventbus.E030",
        )
        for table, count in sorted(owners.items())
        if count > 1
    ]


@register(BUS)
def projections_stand_alone(**_: Any) -> list[CheckMessage]:
    """A foreign key points to one table, and a rebuild puts another one in its place."""
    projected = _projected()
    return [
        Error(
            f"{field} of the projection {name} is a relation, from or to its table.",
            hint="Keep the other's key as a plain value: an event carries all that a projection needs.",
            id="eventbus.E031",
        )
        for model, name in projected
        for field in model._meta.get_fields()
        if field.is_relation
    ]


@register(BUS)
def projections_have_their_own_keys(**_: Any) -> list[CheckMessage]:
    """A rebuild gives its rows numbers of its own, and --diff can't compare them."""
    return [
        Warning(
            f"The rows of {model._meta.label}, a projection of {name}, have only a number, and a rebuild numbers anew.",
            hint="Make the key of what the row is about, such as the day: primary_key=True or CompositePrimaryKey.",
            id="eventbus.W032",
        )
        for model, name in _projected()
        if isinstance(model._meta.pk, AutoField)
        and not any(each.fields for each in model._meta.total_unique_constraints)
        and not any(field.unique for field in model._meta.concrete_fields if field is not model._meta.pk)
    ]


def _projected() -> list[tuple[type[Model], str]]:
    """The models of the projections, each with its consumer's name."""
    owners = {table: name for name, consumer in CONSUMERS.items() for table in consumer.tables}
    return [(model, owners[table]) for model in apps.get_models() if (table := model._meta.db_table) in owners]
