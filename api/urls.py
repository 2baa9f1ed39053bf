"""The addresses of the API that belong to no app, below /api/v1/."""

from django.urls import path

from api.schemas import SchemaView

urlpatterns = [path("schemas/<str:event_type>/<str:version>", SchemaView.as_view(), name="schema")]
