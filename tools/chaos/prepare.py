"""Fills an empty database: schema, a sales channel, and the stock given as JSON on standard input. Prints the channel.

One start of Django for all of it.
"""

import json
import sys

import django

from eventbus.declaration import CONSUMERS

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from api.tokens import create_channel  # noqa: E402
from eventbus.db.owner import as_owner, give_rights  # noqa: E402
from eventbus.db.sql import fetch  # noqa: E402
from eventbus.subscriptions.models import Subscription  # noqa: E402
from inventory.services import receive_stock  # noqa: E402

TALLY = "CREATE TABLE chaos_tally (event_id uuid, at timestamptz DEFAULT now()); CREATE TABLE chaos_broken (why text)"


def main() -> None:
    call_command("migrate", verbosity=0)
    application = connection.settings_dict["USER"]
    with as_owner():
        fetch(TALLY)
        give_rights(application)
    for consumer in CONSUMERS.values():
        for key in consumer.routing_keys:
            Subscription.objects.get_or_create(consumer=consumer.name, routing_key=key)
    for product_id, quantity in json.load(sys.stdin).items():
        receive_stock(product_id=product_id, product_name=product_id.capitalize(), quantity=quantity)
    token, _ = create_channel(name="chaos", days=1)
    print(json.dumps({"token": token, "channel_id": User.objects.get(username="chaos").pk}))


main()
