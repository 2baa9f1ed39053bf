from django.db import migrations, models
from django.db.models.functions import Now

# Here and now nothing is forgotten.
BEGIN = """
INSERT INTO reconciliation (timeline) SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
"""


class Migration(migrations.Migration):
    dependencies = [("eventbus", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="BaseBackup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ended_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "base_backup", "ordering": ["-id"]},
        ),
        migrations.CreateModel(
            name="Reconciliation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reconciled_at", models.DateTimeField(db_default=Now())),
                (
                    "timeline",
                    models.IntegerField(
                        help_text="PostgreSQL's. A restore begins another one, and so does a failover."
                    ),
                ),
                (
                    "restored_to",
                    models.DateTimeField(help_text="None where nothing had been restored.", null=True),
                ),
                (
                    "first_id",
                    models.UUIDField(
                        help_text="What has an older id may have had effects outside that are forgotten.", null=True
                    ),
                ),
                ("taken_back", models.IntegerField(db_default=0, default=0)),
                ("made_again", models.IntegerField(db_default=0, default=0)),
                ("set_aside", models.IntegerField(db_default=0, default=0)),
            ],
            options={"db_table": "reconciliation", "ordering": ["-id"]},
        ),
        migrations.RunSQL(BEGIN, migrations.RunSQL.noop),
    ]
