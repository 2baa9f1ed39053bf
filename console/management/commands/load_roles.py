import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from console.access import ROLES


class Command(BaseCommand):
    help = "Makes the roles (groups) of the staff, each with what it may do. What a role was given beside that stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        known = {
            f"{permission.content_type.app_label}.{permission.codename}": permission
            for permission in Permission.objects.select_related("content_type")
        }
        missing = sorted({name for names in ROLES.values() for name in names} - known.keys())
        if missing:
            raise CommandError(f"Unknown permissions: {', '.join(missing)}. Run manage.py migrate first.", returncode=2)
        added: dict[str, list[str]] = {}
        with transaction.atomic():
            for role, names in ROLES.items():
                group, _ = Group.objects.get_or_create(name=role)
                has = set(group.permissions.values_list("pk", flat=True))
                lacking = [name for name in names if known[name].pk not in has]
                group.permissions.add(*(known[name] for name in lacking))
                added[role] = lacking
            transaction.set_rollback(options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps({"added": added, "dryRun": options["dry_run"]}))
            return
        verb = "would get" if options["dry_run"] else "got"
        for role, lacking in added.items():
            self.stdout.write(f"{role}: {verb} {len(lacking)} permissions, has {len(ROLES[role])} by this command")
