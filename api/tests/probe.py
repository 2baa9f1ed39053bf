"""Endpoints that do as little as an endpoint can, for tests of what all endpoints share."""

from typing import Annotated, Any

from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.urls import path
from pydantic import BaseModel, ConfigDict, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api import idempotency
from api.body import read_body
from api.fields import Day, Line, Moment
from api.pagination import page
from api.problems import Problem
from api.query import PointInTime, Query, read_query
from api.strict_json import read_json


class Echo(APIView):
    """Answers with what it was sent."""

    def post(self, request: Request) -> Response:
        return Response(read_json(request))


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[Line, Field(max_length=50)] = "nobody"


class Groups(APIView):
    """Makes a group of users; refuses one that is there."""

    def post(self, request: Request, group_id: str) -> HttpResponse:
        wish = read_body(Wish, request, optional=True)

        def make() -> dict[str, Any]:
            name = f"{group_id}/{wish.name}"
            if Group.objects.filter(name=name).exists():
                raise Problem(409, f"{name} is there already.", kind="there-already")
            return {"id": Group.objects.create(name=name).pk, "name": name}

        return idempotency.answer_once(request, wish.model_dump(), make, status=201)


class Search(Query):
    """One parameter of each kind."""

    some_text: Line | None = None
    since: Moment | None = None
    day: Day | None = None
    limit: Annotated[int, Field(ge=1, le=5)] = 2


class Searched(APIView):
    """Answers with what it was asked."""

    def get(self, request: Request) -> Response:
        return Response(read_query(Search, request).model_dump(by_alias=True))


class Past(APIView):
    def get(self, request: Request) -> Response:
        return Response({"asOf": read_query(PointInTime, request).as_of})


class Numbers(APIView):
    """A list without end, page by page."""

    def get(self, request: Request, list_id: str) -> Response:
        first = int(request.GET.get("from", 0))
        return page(request, [first, first + 1], next={"from": first + 2}, previous={"from": None} if first else None)


class Broken(APIView):
    """Raises what a test puts here."""

    error: Exception = RuntimeError("the secret inside")

    def get(self, request: Request) -> Response:
        raise self.error


urlpatterns = [
    path("api/echo", Echo.as_view()),
    path("api/groups/<text:group_id>", Groups.as_view()),
    path("api/upper/<id:group_id>", Groups.as_view()),
    path("api/search", Searched.as_view()),
    path("api/past", Past.as_view()),
    path("api/numbers/<text:list_id>", Numbers.as_view()),
    path("api/broken", Broken.as_view()),
]
handler400 = "api.problems.bad_request"
handler404 = "api.problems.not_found"
handler500 = "api.problems.server_error"
