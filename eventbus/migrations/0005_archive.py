"""Nobody may change the archive, its owner included; and it remembers what was pruned."""

from django.db import migrations, models

# A migration that can't have the table soon fails and is run again, rather than stop all who come after it.
SOON = "SET LOCAL lock_timeout = '2s'"
UNSEAL = """
DO $$ DECLARE part regclass; BEGIN
    FOR part IN SELECT relid FROM pg_partition_tree('event') LOOP
        EXECUTE format('DROP TRIGGER event_is_not_truncated ON %s', part);
        EXECUTE format('GRANT UPDATE, DELETE, TRUNCATE ON %s TO CURRENT_USER', part);
    END LOOP;
END $$
"""


def seal_all(apps, schema_editor):
    from eventbus.partitions import seal

    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT relid::regclass::text FROM pg_partition_tree('event')")
        parts = [name for (name,) in cursor.fetchall()]
    for part in parts:
        seal(part)


def unseal_all(apps, schema_editor):
    schema_editor.execute(UNSEAL, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("eventbus", "0004_alarms"),
    ]

    operations = [
        migrations.RunSQL(SOON, migrations.RunSQL.noop),
        migrations.RunPython(seal_all, unseal_all),
        migrations.CreateModel(
            name="PrunedMonth",
            fields=[
                ("month", models.DateField(help_text="Its first day.", primary_key=True, serialize=False)),
                ("events", models.BigIntegerField()),
                ("pruned_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "db_table": "pruned_month",
                "ordering": ["month"],
            },
        ),
        migrations.CreateModel(
            name="StreamCut",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "aggregate_type",
                        "aggregate_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("aggregate_type", models.TextField(db_collation="C")),
                ("aggregate_id", models.TextField(db_collation="C")),
                ("sequence", models.IntegerField()),
            ],
            options={
                "db_table": "stream_cut",
            },
        ),
    ]
