"""The addresses of the shipping API, below /api/v1/."""

from django.urls import path

from shipping import api

urlpatterns = [path("shipments/<id:order_id>/dispatch", api.DispatchView.as_view(), name="shipment-dispatch")]
