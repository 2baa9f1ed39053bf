"""The log-in of the console: the same accounts as Django admin's, and the same limits on who tries."""

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse

from console.pages import framed, while_database_answers

_view = LoginView.as_view(
    template_name="console/login.html",
    authentication_form=AdminAuthenticationForm,
    next_page="console:home",
    redirect_authenticated_user=False,
)


def login(request: HttpRequest) -> HttpResponse:
    """Ask who it is."""

    def answer() -> HttpResponse:
        response: Any = _view(request)
        return framed(response)

    return while_database_answers(request, answer)
