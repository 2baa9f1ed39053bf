"""Mails, and what became of each."""

import django.db.models.functions.datetime
import django.db.models.functions.text
from django.db import migrations, models

import eventbus.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.UUIDField(default=eventbus.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("order_id", models.UUIDField()),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("confirmation", "Confirmation"),
                            ("apology", "Apology"),
                            ("tracking", "Tracking"),
                            ("cancellation", "Cancellation"),
                        ]
                    ),
                ),
                ("to", models.TextField()),
                ("subject", models.TextField()),
                ("text", models.TextField()),
                ("html", models.TextField()),
                (
                    "message_id",
                    models.TextField(
                        help_text="RFC 5322. The same on every attempt, so that a reader can spot a repeat."
                    ),
                ),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("QUEUED", "queued"),
                            ("SENDING", "sending"),
                            ("SENT", "sent"),
                            ("UNKNOWN", "in doubt"),
                            ("FAILED", "refused"),
                        ],
                        db_default="QUEUED",
                        default="QUEUED",
                    ),
                ),
                (
                    "error",
                    models.TextField(
                        blank=True, db_default="", default="", help_text="What the last attempt ended with."
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
                "permissions": [("resend_mail", "Can send a mail again")],
                "indexes": [
                    models.Index(django.db.models.functions.text.Upper("to"), name="mail_by_address"),
                    models.Index(
                        condition=models.Q(("state", "SENT"), _negated=True), fields=["state"], name="mail_not_sent"
                    ),
                ],
                "constraints": [models.UniqueConstraint(fields=("order_id", "kind"), name="mail_once")],
            },
        ),
    ]
