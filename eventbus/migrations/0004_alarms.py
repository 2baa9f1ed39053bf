"""Alarms, and outbox rows that wait for a full queue."""

from django.db import migrations, models

HOLD = """
ALTER TABLE outbox ADD COLUMN held_by text COLLATE "C";
-- A relay must find what it may publish though a million rows before it wait.
CREATE INDEX outbox_free ON outbox (position) WHERE held_by IS NULL;
CREATE INDEX outbox_held ON outbox (held_by, position) WHERE held_by IS NOT NULL;
CREATE INDEX outbox_held_aggregate ON outbox (aggregate_id, position) WHERE held_by IS NOT NULL;
"""
UNHOLD = "ALTER TABLE outbox DROP COLUMN held_by;"


class Migration(migrations.Migration):
    dependencies = [
        ("eventbus", "0003_dead_letters"),
    ]

    operations = [
        migrations.RunSQL(HOLD, UNHOLD),
        migrations.AddField(
            model_name="subscription",
            name="settled_until",
            field=models.DateTimeField(
                editable=False,
                help_text="Everything older is handled: where the search for the oldest begins.",
                null=True,
            ),
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("subject", models.TextField(blank=True)),
                (
                    "state",
                    models.TextField(
                        choices=[("ok", "Ok"), ("pending", "Pending"), ("firing", "Firing")], default="ok"
                    ),
                ),
                ("count", models.IntegerField(default=0, help_text="Evaluations in a row over the threshold.")),
                ("value", models.FloatField(default=0)),
                ("since", models.DateTimeField(help_text="When it came into this state.")),
                ("evaluated_at", models.DateTimeField()),
            ],
            options={
                "db_table": "alarm",
                "ordering": ["name", "subject"],
                "constraints": [models.UniqueConstraint(fields=("name", "subject"), name="alarm_once")],
            },
        ),
        migrations.CreateModel(
            name="AlarmNotice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        help_text="The same at each attempt: by it a receiver knows a repeat.",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.TextField()),
                ("subject", models.TextField(blank=True)),
                ("state", models.TextField(choices=[("ok", "Ok"), ("pending", "Pending"), ("firing", "Firing")])),
                ("value", models.FloatField()),
                ("changed_at", models.DateTimeField()),
                ("channel", models.TextField(help_text="mail or webhook")),
                ("attempts", models.IntegerField(default=0)),
                ("error", models.TextField(blank=True)),
                ("delivered_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "alarm_notice",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(condition=models.Q(("delivered_at", None)), fields=["id"], name="alarm_notice_waiting")
                ],
            },
        ),
    ]
