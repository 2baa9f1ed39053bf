"""Orders and their lines."""

import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

import eventbus.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.UUIDField(default=eventbus.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("CREATED", "Created"),
                            ("CONFIRMED", "Confirmed"),
                            ("REJECTED", "Rejected"),
                            ("CANCELLED", "Cancelled"),
                            ("SHIPPED", "Shipped"),
                        ],
                        default="CREATED",
                    ),
                ),
                ("customer_id", models.TextField()),
                ("customer_email", models.TextField()),
                ("shipping_address", models.JSONField()),
                ("total_amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("currency", models.CharField(max_length=3)),
                ("correlation_id", models.TextField()),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                ("cancel_reason", models.TextField(blank=True, db_default="", default="")),
                (
                    "timed_out_at",
                    models.DateTimeField(help_text="When it was given up because nothing answered it.", null=True),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("line", models.PositiveSmallIntegerField()),
                ("product_id", models.TextField()),
                ("product_name", models.TextField()),
                ("quantity", models.PositiveIntegerField()),
                ("unit_price", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="orders.order",
                    ),
                ),
            ],
            options={
                "ordering": ["order", "line"],
            },
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["channel", "id"], name="order_of_channel"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["customer_id", "id"], name="order_of_customer"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["status", "id"], name="order_in_status"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(django.db.models.functions.text.Upper("customer_email"), name="order_by_email"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("timed_out_at__isnull", False)), fields=["id"], name="order_timed_out"
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["CREATED", "CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED"])),
                name="order_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(("total_amount__gte", 0)), name="order_total_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="orderitem",
            constraint=models.UniqueConstraint(fields=("order", "line"), name="order_line_once"),
        ),
        migrations.AddConstraint(
            model_name="orderitem",
            constraint=models.CheckConstraint(condition=models.Q(("quantity__gte", 1)), name="order_line_of_something"),
        ),
        migrations.AddConstraint(
            model_name="orderitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("unit_price__gte", 0)), name="order_line_price_not_negative"
            ),
        ),
    ]
