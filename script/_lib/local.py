"""Where this copy of the project keeps its data and which ports are its own. Standard library only."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/python"


def fail(advice: str) -> NoReturn:
    """Ends the program with one line that says what to do."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.stem
    print(f"{name}: {advice}", file=sys.stderr)
    raise SystemExit(1)


def read_env_file(path: Path) -> dict[str, str]:
    """The KEY=VALUE lines of a file; none if there is no such file."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def _offset(text: str) -> int:
    # The highest base port is 55675.
    if not text.isdecimal() or int(text) > 9800:
        fail(f"PORT_OFFSET is {text!r}: set it to a number from 0 to 9800.")
    return int(text)


# An empty value in `.env` means "not set", so that the example file can list every name.
ENV = {key: value for key, value in (read_env_file(ROOT / ".env") | dict(os.environ)).items() if value}
OFFSET = _offset(ENV.get("PORT_OFFSET", "0"))
LOCAL = (ROOT / ENV.get("LOCAL_DIR", ".local")).resolve()
LOGS = LOCAL / "logs"
MAILBOX = LOCAL / "mailbox"

POSTGRES_PORT = 55432 + OFFSET
AMQP_PORT = 55672 + OFFSET
MANAGEMENT_PORT = 55673 + OFFSET
DIST_PORT = 55674 + OFFSET
EPMD_PORT = 55675 + OFFSET
MAIL_PORT = 55025 + OFFSET


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; nobody but its owner can read it at any time."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def passwords() -> dict[str, str]:
    """This copy's own passwords: made once, the same at every start."""
    path = LOCAL / "secrets.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    wanted = (
        "postgres",
        "database",
        "application",
        "broker",
        "declaring",
        "broker_admin",
        "secret_key",
        "flower",
        "metrics",
        "admin",
    )
    made = {name: kept.get(name) or secrets.token_urlsafe(32) for name in wanted}
    if made != kept:
        write_private(path, json.dumps(made, indent=1) + "\n")
    return made


def own_urls() -> dict[str, str]:
    """The addresses of the private servers, by the variable that would replace each."""
    password = passwords()
    return {
        "DATABASE_URL": database_url("pipeline_app", "application"),
        "BROKER_URL": f"amqp://pipeline:{password['broker']}@127.0.0.1:{AMQP_PORT}//",
        "EMAIL_URL": f"smtp://127.0.0.1:{MAIL_PORT}",
    }


def database_url(role: str, password: str) -> str:
    """The address of the private PostgreSQL for one of its roles."""
    return f"postgres://{role}:{passwords()[password]}@127.0.0.1:{POSTGRES_PORT}/pipeline"


def management_url(user: str, password: str) -> str:
    """The address of the private broker's management API for one of its users."""
    return f"http://{user}:{passwords()[password]}@127.0.0.1:{MANAGEMENT_PORT}"


def is_external(variable: str) -> bool:
    """Whether the environment points elsewhere than to our own server."""
    return ENV.get(variable, own_urls()[variable]) != own_urls()[variable]


def write_env() -> None:
    """Writes LOCAL_DIR/env: the defaults that config/settings.py reads for what the environment doesn't set."""
    password = passwords()
    values = {variable: url for variable, url in own_urls().items() if not is_external(variable)}
    if not is_external("DATABASE_URL"):
        values["OWNER_DATABASE_URL"] = database_url("pipeline", "database")
    if not is_external("BROKER_URL"):
        login = f"pipeline_declaring:{password['declaring']}"
        values["DECLARING_BROKER_URL"] = f"amqp://{login}@127.0.0.1:{AMQP_PORT}//"
        values["MANAGEMENT_URL"] = management_url("pipeline_declaring", "declaring")
    values |= {
        "SECRET_KEY": password["secret_key"],
        "FLOWER_BASIC_AUTH": f"flower:{password['flower']}",
        "METRICS_TOKEN": password["metrics"],
        "PORT": str(8000 + OFFSET),
        "FLOWER_PORT": str(5555 + OFFSET),
    }
    write_private(LOCAL / "env", "".join(f"{key}={value}\n" for key, value in values.items()))
