"""Whether a process of the product does its work."""

import psycopg

from script._lib.process import Process
from script._lib.service import is_ok

CONNECTED = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %s AND datname = current_database())
"""


def is_ready(process: Process) -> bool:
    """Asks it, or those who would know. Its name says what it is: `relay`, `web`, `flower`, `worker_orders`; a number
    behind it does not matter."""
    env = process.env_at_start
    match process.name.replace("_", " ").split():
        case ["web"]:
            return is_ok(f"http://127.0.0.1:{env['PORT']}/health/ready")
        case ["flower"]:
            return is_ok(f"http://127.0.0.1:{env['FLOWER_PORT']}/healthcheck")
        case ["relay", *_]:
            return _is_connected(env["DATABASE_URL"], "relay")
        case ["deliver", "webhooks"]:
            return _is_connected(env["DATABASE_URL"], "deliver webhooks")
        case ["beat"]:
            return "beat: Starting" in process.says()
        case ["dead", "letters", *_] | [*_, "dead", "letters"]:
            return _is_connected(env["DATABASE_URL"], "dead letters")
    return "ready." in process.says()


def _is_connected(database_url: str, application: str) -> bool:
    with psycopg.connect(database_url, connect_timeout=5) as own:
        return own.execute(CONNECTED, [application]).fetchone() == (True,)
