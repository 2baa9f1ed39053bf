"""Every address of the service."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from api.schemas import AsyncAPIView, OpenAPIView

admin.site.site_header = admin.site.site_title = "Order pipeline"

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("asyncapi.json", AsyncAPIView.as_view(), name="asyncapi"),
    path("api/openapi.json", OpenAPIView.as_view(), name="openapi"),
    path("api/v1/", include("api.urls")),
    path("api/v1/", include("orders.urls")),
    path("api/v1/", include("inventory.urls")),
    path("api/v1/", include("shipping.urls")),
    path("api/v1/", include("analytics.urls")),
    path("api/v1/", include("webhooks.urls")),
    path("", include("console.urls")),
]
handler400 = "api.problems.bad_request"
handler403 = "console.views.errors.forbidden"
handler404 = "api.problems.not_found"
handler500 = "api.problems.server_error"
