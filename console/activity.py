"""Who did what, when and why: in the log that Django admin keeps too, so that one list has everything."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest


def note(request: HttpRequest, model: str, object_id: object, text: str) -> None:
    """Note what this person has just done to a row of a model, written `app.model`. No customer's data in the text."""
    app, _, name = model.partition(".")
    user: Any = request.user
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=ContentType.objects.get_by_natural_key(app, name),
        object_id=str(object_id),
        object_repr=str(object_id)[:200],
        action_flag=CHANGE,
        change_message=text,
    )
