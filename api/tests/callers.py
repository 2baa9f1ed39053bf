"""Who calls the API in tests, and how its answers are read."""

from io import BytesIO
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from eventbus import encode_json


class Caller:
    """Someone with a token."""

    def __init__(self, user: User) -> None:
        _, token = AuthToken.objects.create(user)
        self.user = user
        # A server error must come back as an answer, as it does to a caller.
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str, query: Any = None, **headers: str) -> Any:
        return self.client.get(path, query, headers=self.headers | _names(headers))

    def post(self, path: str, body: Any = b"", *, content_type: str = "application/json", **headers: str) -> Any:
        """Post a body: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else encode_json(body)
        return self.client.post(path, raw, content_type=content_type, headers=self.headers | _names(headers))

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        """Change something, by JSON."""
        sent = self.headers | _names(headers)
        return self.client.patch(path, encode_json(body), content_type="application/json", headers=sent)

    def delete(self, path: str) -> Any:
        return self.client.delete(path, headers=self.headers)

    def send_chunked(self, path: str, body: bytes, *, method: str = "POST", **headers: str) -> Any:
        """Send a body that doesn't say how long it is."""
        unsized: dict[str, Any] = {
            "wsgi.input": BytesIO(body),
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": "",
        }
        all_headers = {**self.headers, **_names(headers), "Transfer-Encoding": "chunked"}
        return self.client.generic(method, path, headers=all_headers, **unsized)


def _names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def problem(answer: Any, status: int) -> Any:
    """The answer's body, which must be a problem of that status."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["correlationId"] == answer["x-correlation-id"]
    assert {"type", "title", "detail"} <= set(body)
    return body


def pointers(answer: Any) -> dict[str, str]:
    """What an answer says is wrong: code by pointer."""
    return {error["pointer"]: error["code"] for error in answer.json()["errors"]}
