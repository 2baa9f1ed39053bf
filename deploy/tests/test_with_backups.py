"""docs/backup-and-restore.md with compose: backups beside the stack, which is restored to a moment amid traffic."""

import json

from deploy.tests.conftest import Channel, Stack
from script._lib.waiting import comes_true, wait_until

FILES = ("docker-compose.yml", "deploy/compose.backup.yml")
#: Who runs on while the database is restored: its queues and mails know what it will forget.
STAY = {"postgres", "rabbitmq", "mail", "gateway"}


def test_the_stack_is_restored_to_a_moment(stack: Stack, channel: Channel) -> None:
    stack.up(*FILES)
    made = comes_true(lambda: query(stack, "SELECT count(*) FROM base_backup") != "0", 300)
    assert made, stack.must(*compose("logs", "--tail", "40", "backup", "postgres"))
    assert "last backup" in stack.inside("web", "python", "manage.py", "bus_status")

    kept = channel.place()
    channel.sees_confirmed(kept)
    moment = query(stack, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")
    # Nobody handles it, so that it waits in queues.
    stop = [service for service in stack.services() if service.startswith("worker_")]
    backed_up(stack, "stop", *stop)
    forgotten = channel.place()
    wait_until(lambda: query(stack, "SELECT count(*) FROM outbox") == "0", 60, "the relay")
    last = query(stack, "SELECT pg_walfile_name(pg_switch_wal())")
    archived = f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"
    wait_until(lambda: query(stack, archived) == "t", 120, "the last change to be archived", every=1)

    backed_up(stack, "stop", *(set(stack.services()) - STAY), "backup")
    backed_up(stack, "stop", "postgres")
    target = f"--target={moment.replace('T', ' ')}+00"
    restore = ("--stanza=pipeline", "--delta", "--type=time", target, "--target-action=promote", "restore")
    backed_up(stack, "run", "--rm", "--no-deps", "-T", "backup", "pgbackrest", *restore)
    backed_up(stack, "up", "--detach", "--no-build", "--no-deps", "--wait", "postgres")
    wait_until(lambda: query(stack, "SELECT pg_is_in_recovery()") == "f", 60, "the restored server to write")
    assert query(stack, "SELECT count(*) FROM orders_order WHERE id IN ('{}', '{}')", kept, forgotten) == "1"

    (stack.project / "restored").mkdir(mode=0o777)
    (stack.project / "restored").chmod(0o777)
    # It has every address.
    run = ("run", "--rm", "--no-deps", "-T", "--volume", f"{stack.project}/restored:/restored", "migrate")
    toolbox = (*run, "python", "manage.py")
    # They are violations, so it ends with 1.
    said = stack.run(*compose(*toolbox, "verify_pipeline", "--restored-to", moment)).stdout
    assert forgotten in said, said
    done = json.loads(backed_up(stack, *toolbox, "reconcile", moment, "--into", "/restored/forgotten.jsonl", "--json"))
    assert done["dryRun"] is False
    assert forgotten in (stack.project / "restored/forgotten.jsonl").read_text()
    stack.up(*FILES)
    channel.sees_confirmed(forgotten)
    assert channel.status(kept) == "CONFIRMED"
    stack.inside("web", "python", "manage.py", "verify_pipeline")


def backed_up(stack: Stack, *arguments: str) -> str:
    return stack.must(*compose(*arguments))


def compose(*arguments: str) -> tuple[str, ...]:
    return ("docker", "compose", *(f"--file={file}" for file in FILES), *arguments)


def query(stack: Stack, statement: str, *ids: str) -> str:
    """As the superuser, in the server's container."""
    psql = ("psql", "--username=postgres", "--no-psqlrc", "--tuples-only", "--no-align", "pipeline", "--command")
    return backed_up(stack, "exec", "-T", "postgres", *psql, statement.format(*ids)).strip()
