"""Brings database and broker up to date and prints, as JSON, a fresh token for the demo channel.

One start of Django for what would be six commands.
"""

from __future__ import annotations

import io
import json
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from eventbus.checks.granted import connections_suffice  # noqa: E402


def ensure_admin(name: str, password: str) -> None:
    """An admin of that name who can log in with that password."""
    user = User.objects.filter(username=name).first() or User.objects.create_superuser(name, password=password)
    if not user.check_password(password):
        user.set_password(password)
        user.save(update_fields=["password"])


def main() -> None:
    # Standard output is for the result alone.
    call_command("migrate", stdout=sys.stderr)
    for command in ("declare_topology", "load_demo"):
        call_command(command, stdout=io.StringIO())
    for each in connections_suffice():
        print(f"server: {each.msg} {each.hint}", file=sys.stderr)
    ensure_admin("admin", os.environ["ADMIN_PASSWORD"])
    answer = io.StringIO()
    call_command("create_channel", "demo", "--json", stdout=answer)
    print(json.dumps({"token": json.loads(answer.getvalue())["token"]}))


main()
