"""Stock, reservations and snapshots."""

import django.db.models.expressions
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.UUIDField()),
                ("product_id", models.TextField(db_collation="C")),
                ("quantity", models.BigIntegerField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("RESERVED", "Reserved"),
                            ("REFUSED", "Refused"),
                            ("RELEASED", "released after a cancellation"),
                            ("CANCELLED", "cancelled before it was decided on"),
                            ("SHIPPED", "Shipped"),
                        ]
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(fields=["product_id"], name="reservation_of_product")],
                "constraints": [
                    models.UniqueConstraint(fields=("order_id", "product_id"), name="reservation_once"),
                    models.CheckConstraint(condition=models.Q(("quantity__gt", 0)), name="reservation_of_something"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Stock",
            fields=[
                ("product_id", models.TextField(db_collation="C", primary_key=True, serialize=False)),
                ("product_name", models.TextField()),
                ("available", models.BigIntegerField(default=0)),
                ("reserved", models.BigIntegerField(default=0)),
                ("shipped", models.BigIntegerField(default=0)),
                ("received", models.BigIntegerField(default=0)),
                (
                    "low_threshold",
                    models.PositiveIntegerField(
                        default=10,
                        help_text="inventory.stock.low is announced when the available quantity falls below this.",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "stock",
                "ordering": ["product_id"],
                "permissions": [("receive_stock", "Can receive stock"), ("count_stock", "Can count stock")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("available__gte", 0)), name="stock_available_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reserved__gte", 0)), name="stock_reserved_not_negative"
                    ),
                    models.CheckConstraint(condition=models.Q(("shipped__gte", 0)), name="stock_shipped_not_negative"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "received",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("available"), "+", models.F("reserved")
                                    ),
                                    "+",
                                    models.F("shipped"),
                                ),
                            )
                        ),
                        name="stock_adds_up",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="StockSnapshot",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.TextField(db_collation="C")),
                ("sequence", models.IntegerField(help_text="The last event that is counted in.")),
                (
                    "as_of",
                    models.DateTimeField(help_text="When the latest of the events that are counted in occurred."),
                ),
                ("available", models.BigIntegerField()),
                ("reserved", models.BigIntegerField()),
                ("shipped", models.BigIntegerField()),
            ],
            options={
                "indexes": [models.Index(fields=["product_id", "as_of", "sequence"], name="snapshot_as_of")],
                "constraints": [models.UniqueConstraint(fields=("product_id", "sequence"), name="snapshot_once")],
            },
        ),
        # A popular product's row changes with every order: room on its page keeps the changes there, and off the index.
        migrations.RunSQL("ALTER TABLE inventory_stock SET (fillfactor = 50)", migrations.RunSQL.noop),
    ]
