"""A mail about a cancelled order."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="mail",
            name="kind",
            field=models.TextField(
                choices=[
                    ("confirmation", "Confirmation"),
                    ("apology", "Apology"),
                    ("tracking", "Tracking"),
                    ("cancellation", "Cancellation"),
                ]
            ),
        ),
    ]
