"""What orders have in their totals beside their lines."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="OrderAdjustment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line", models.PositiveSmallIntegerField()),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("shipping", "shipping"),
                            ("tax", "tax"),
                            ("discount", "discount"),
                            ("rounding", "rounding"),
                            ("fee", "fee"),
                        ]
                    ),
                ),
                ("label", models.TextField()),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="adjustments",
                        to="orders.order",
                    ),
                ),
            ],
            options={
                "ordering": ["order", "line"],
                "constraints": [
                    models.UniqueConstraint(fields=("order", "line"), name="order_adjustment_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind", "rounding"),
                            models.Q(("amount__lte", 0), ("kind", "discount")),
                            models.Q(("amount__gte", 0), ("kind__in", ["shipping", "tax", "fee"])),
                            _connector="OR",
                        ),
                        name="order_adjustment_has_its_sign",
                    ),
                ],
            },
        ),
    ]
