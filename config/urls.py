"""Every address of the service."""

from django.contrib import admin
from django.urls import include, path

from config import health

admin.site.site_header = admin.site.site_title = "Order pipeline"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("orders.urls")),
    path("api/v1/", include("inventory.urls")),
    path("api/v1/", include("shipping.urls")),
    path("api/v1/", include("analytics.urls")),
    path("health/live", health.live),
    path("health/ready", health.ready),
]
handler400 = "api.problems.bad_request"
handler404 = "api.problems.not_found"
handler500 = "api.problems.server_error"
