"""The addresses of the webhooks API, below /api/v1/."""

from django.urls import path

from webhooks import api

ONE = "webhooks/<id:webhook_id>"

urlpatterns = [
    path("webhooks", api.WebhooksView.as_view(), name="webhooks"),
    path(ONE, api.WebhookView.as_view(), name="webhook"),
    path(f"{ONE}/rotate-secret", api.RotationView.as_view(), name="webhook-rotate-secret"),
    path(f"{ONE}/ping", api.PingView.as_view(), name="webhook-ping"),
    path(f"{ONE}/recover", api.RecoveryView.as_view(), name="webhook-recover"),
    path(f"{ONE}/deliveries", api.DeliveriesView.as_view(), name="webhook-deliveries"),
    path(f"{ONE}/deliveries/<id:delivery_id>", api.DeliveryView.as_view(), name="webhook-delivery"),
    path(f"{ONE}/deliveries/<id:delivery_id>/resend", api.ResendView.as_view(), name="webhook-resend"),
]
