"""`manage.py create_staff_token`: a token for the API's staff routes."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from api import tokens


class Command(BaseCommand):
    help = (
        "Print a fresh API token of a staff account, for what channels may not do: receive stock, dispatch, look at "
        "analytics. Make the account in admin or by createsuperuser. The token is shown this once: the database keeps "
        "only its hash. Exit 1 if there is no such account or it is not staff's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--days", type=int, default=1, help="how long the token is valid (%(default)s)")
        parser.add_argument("--json", action="store_true", help='print {"username", "token", "expires"}')

    def handle(self, *args: Any, username: str, days: int, **options: Any) -> None:
        if not 1 <= days <= 3650:
            raise CommandError("--days is between 1 and 3650.", returncode=2)
        try:
            token, expires = tokens.create_staff_token(username=username, days=days)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({"username": username, "token": token, "expires": expires.isoformat()}))
        else:
            self.stdout.write(f"{username}, valid until {expires:%Y-%m-%d}. Send this header:")
            self.stdout.write(f"Authorization: Bearer {token}")
