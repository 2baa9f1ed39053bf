from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_adjustments")]

    operations = [
        migrations.AlterModelOptions(
            name="order",
            options={"ordering": ["-id"], "permissions": [("cancel_order", "Can cancel an order")]},
        ),
    ]
