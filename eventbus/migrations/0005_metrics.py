from django.db import migrations, models

# Totals count what is committed from here on, and not only from the first sample.
BEGIN = """
INSERT INTO bus_sampling (id, taken_at, snapshot, marks)
SELECT 1, clock_timestamp(), pg_current_snapshot()::text, jsonb_build_array(jsonb_build_object(
    'xid', pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    'pages', (SELECT jsonb_object_agg(relid::regclass::text,
                                      pg_relation_size(relid) / current_setting('block_size')::int)
              FROM pg_partition_tree('processed_event') WHERE isleaf)))
ON CONFLICT (id) DO UPDATE SET snapshot = EXCLUDED.snapshot, marks = EXCLUDED.marks
"""
# The older code begins anew.
FORGET = "DELETE FROM bus_sampling"


class Migration(migrations.Migration):
    dependencies = [
        ("eventbus", "0004_samples_and_alarm_changes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Total",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("metric", models.TextField(db_collation="C")),
                ("labels", models.TextField(blank=True, db_collation="C")),
                ("part", models.TextField(blank=True, db_collation="C")),
                ("value", models.FloatField()),
            ],
            options={
                "db_table": "bus_total",
                "ordering": ["metric", "labels", "part"],
                "constraints": [models.UniqueConstraint(fields=("metric", "labels", "part"), name="bus_total_once")],
            },
        ),
        migrations.RunSQL(BEGIN, FORGET),
    ]
