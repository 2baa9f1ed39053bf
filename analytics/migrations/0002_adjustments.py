"""Tax and charges of a day, apart from its sales."""

from django.db import migrations

import analytics.models


class Migration(migrations.Migration):
    dependencies = [
        ("analytics", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="salesbyday",
            name="cancelled_charges",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="cancelled_tax",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="confirmed_charges",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="confirmed_tax",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="created_charges",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="created_tax",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="rejected_charges",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="rejected_tax",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="shipped_charges",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name="salesbyday",
            name="shipped_tax",
            field=analytics.models.ExactAmount(db_default=0, decimal_places=4, default=0, max_digits=30),
        ),
    ]
