"""`manage.py create_channel`: a token for a sales channel."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.settings import knox_settings

from api import tokens


class Command(BaseCommand):
    help = (
        "Make a sales channel, if there is none with that name yet, and print a fresh API token for it. "
        "The token is shown this once: the database keeps only its hash. Earlier tokens of the channel stay valid "
        "until they expire, unless --revoke is given."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        default = knox_settings.TOKEN_TTL.days
        parser.add_argument("name", help="letters, digits and @ . + - _ ; for example web-shop")
        parser.add_argument("--days", type=int, default=default, help="how long the token is valid (%(default)s)")
        parser.add_argument("--revoke", action="store_true", help="end all earlier tokens of this channel")
        parser.add_argument("--json", action="store_true", help='print {"channel", "token", "expires"}')

    def handle(self, *args: Any, name: str, days: int, revoke: bool, **options: Any) -> None:
        if not 1 <= days <= 3650:
            raise CommandError("--days is between 1 and 3650.")
        try:
            token, expires = tokens.create_channel(name=name, days=days, revoke=revoke)
        except ValidationError as error:
            raise CommandError(f"{name!r} is not a valid channel name: {' '.join(error.messages)}") from None
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({"channel": name, "token": token, "expires": expires.isoformat()}))
        else:
            self.stdout.write(f"Channel {name}, valid until {expires:%Y-%m-%d}. Send this header:")
            self.stdout.write(f"Authorization: Bearer {token}")
