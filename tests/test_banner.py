"""What script/server says when it is ready: passwords are for the person at the terminal, not for a log."""

import pytest

from script._lib import server

ACCESS = {
    "api": "http://127.0.0.1:8000/api/v1", "token": "the-token", "admin": "http://127.0.0.1:8000/admin/",
    "admin_user": "admin", "admin_password": "the-password", "flower": "http://127.0.0.1:5555",
    "flower_user": "flower", "flower_password": "the-other", "smtp": "", "mailbox": "/mails",
}  # fmt: skip


def test_a_file_or_a_pipe_gets_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    server.show(ACCESS)
    said = capsys.readouterr().out
    assert "access.json" in said
    assert not [secret for secret in ("the-token", "the-password", "the-other") if secret in said]


def test_a_terminal_gets_the_log_ins(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    server.show(ACCESS)
    said = capsys.readouterr().out
    assert "admin  the-password" in said
    assert "the-token" not in said
