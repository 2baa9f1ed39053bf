from django.db import migrations

# Written by the statement that inserts the row; empty for what succeeded at once, which costs nothing to store.
FORWARD = "ALTER TABLE processed_event ADD COLUMN first_failed_at timestamptz, ADD COLUMN last_error text"
BACKWARD = "ALTER TABLE processed_event DROP COLUMN first_failed_at, DROP COLUMN last_error"


class Migration(migrations.Migration):
    dependencies = [("eventbus", "0002_backups_and_restores")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
