from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("eventbus", "0003_inbox_tells_of_failures")]

    operations = [
        migrations.CreateModel(
            name="AlarmChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("subject", models.TextField(blank=True)),
                (
                    "state",
                    models.TextField(choices=[("ok", "Ok"), ("pending", "Pending"), ("firing", "Firing")]),
                ),
                ("value", models.FloatField()),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "alarm_change",
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["changed_at"], name="alarm_change_at")],
            },
        ),
        migrations.CreateModel(
            name="Sample",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                (
                    "seconds",
                    models.IntegerField(help_text="How much time it covers: 10, or 300 once it is older than a day."),
                ),
                ("consumer", models.TextField(blank=True, db_collation="C")),
                ("ready", models.BigIntegerField(null=True)),
                ("workers", models.IntegerField(null=True)),
                ("retrying", models.BigIntegerField(db_default=0, default=0)),
                ("done", models.BigIntegerField(null=True)),
                (
                    "retried",
                    models.BigIntegerField(
                        db_default=0, default=0, help_text="Of those done, not at the first attempt."
                    ),
                ),
                ("dead", models.BigIntegerField(db_default=0, default=0)),
                ("age_p50", models.FloatField(help_text="In seconds.", null=True)),
                ("age_p95", models.FloatField(help_text="In seconds.", null=True)),
            ],
            options={
                "db_table": "bus_sample",
                "ordering": ["-at"],
                "constraints": [
                    models.UniqueConstraint(fields=("seconds", "at", "consumer"), name="bus_sample_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Sampling",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("taken_at", models.DateTimeField()),
                ("snapshot", models.TextField(blank=True, db_default="", default="")),
                ("marks", models.JSONField(db_default=[], default=list)),
            ],
            options={"db_table": "bus_sampling"},
        ),
    ]
