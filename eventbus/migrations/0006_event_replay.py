"""Replays from the archive, and when each consumer last heard of each contract."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("eventbus", "0005_archive"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="subscription",
            options={"ordering": ["consumer", "routing_key"], "verbose_name": "consumer"},
        ),
        migrations.AddField(
            model_name="subscription",
            name="heard_at",
            field=models.DateTimeField(help_text="When it last handled an event of it; as far as is known.", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="looked_at",
            field=models.DateTimeField(editable=False, help_text="Up to when `heard_at` was looked for.", null=True),
        ),
        migrations.AddField(
            model_name="subscription",
            name="noted_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                help_text="From then on it can be quiet.",
            ),
        ),
        migrations.AlterField(
            model_name="subscription",
            name="since",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.CreateModel(
            name="EventReplay",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("consumer", models.TextField()),
                (
                    "is_fill",
                    models.BooleanField(
                        default=False,
                        help_text='The consumer is new here: it declares start="beginning", and nobody asked by hand.',
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_by", models.TextField()),
                ("selection", models.JSONField(help_text="The filters that were asked for.")),
                (
                    "routing_keys",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), help_text="The contracts that it sends.", size=None
                    ),
                ),
                (
                    "position",
                    models.UUIDField(help_text="Everything up to this event has been sent, or was handled already."),
                ),
                ("upto", models.UUIDField(help_text="The last event of the frozen set.")),
                ("total", models.BigIntegerField(help_text="Events that were to be sent, counted at the start.")),
                ("sent", models.BigIntegerField(default=0)),
                ("rate", models.FloatField(help_text="Events per second at most.", null=True)),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("running", "Running"),
                            ("paused", "Paused"),
                            ("cancelled", "Cancelled"),
                            ("done", "Done"),
                        ],
                        default="running",
                    ),
                ),
                ("note", models.TextField(blank=True, default="")),
                ("lease_holder", models.TextField(blank=True, default="")),
                ("lease_until", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "event_replay",
                "ordering": ["-id"],
                "permissions": [("replay_events", "Can replay events from the archive")],
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "running")), fields=["lease_until"], name="event_replay_running"
                    )
                ],
            },
        ),
    ]
