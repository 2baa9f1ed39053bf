"""Tokens: how a sales channel or a member of staff gets one. The database keeps only their hashes."""

from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from knox.models import AuthToken


def create_channel(*, name: str, days: int, revoke: bool = False) -> tuple[str, datetime]:
    """A fresh token for a sales channel, and when it expires. The channel is made if there is none of that name.

    Earlier tokens stay until they expire, unless `revoke`. Raises ValueError for the name of a person or a bad name.
    """
    users = get_user_model()
    with transaction.atomic():
        channel = users.objects.filter(username=name).first()
        if channel is None:
            channel = users(username=name)
            channel.set_unusable_password()
            channel.full_clean(exclude=["password"])
            channel.save()
        elif channel.is_staff or channel.is_superuser or channel.has_usable_password():
            raise ValueError(f"{name!r} is the account of a person. Choose another name for the channel.")
        if revoke:
            AuthToken.objects.filter(user=channel).delete()
        token, secret = AuthToken.objects.create(channel, expiry=timedelta(days=days))
    return secret, token.expiry


def create_staff_token(*, username: str, days: int) -> tuple[str, datetime]:
    """A fresh token of a staff account, and when it expires. Raises ValueError for anybody else's name."""
    person = get_user_model().objects.filter(username=username, is_staff=True, is_active=True).first()
    if person is None:
        raise ValueError(f"{username!r} is not an active staff account.")
    token, secret = AuthToken.objects.create(person, expiry=timedelta(days=days))
    return secret, token.expiry
