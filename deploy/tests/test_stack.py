"""docker compose, from the first `up` to the last `down`: one story, told in this order."""

import re
import resource
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime

import httpx
import pytest

from deploy.tests.conftest import HOST, SECRET_KEY, SERVERS, Channel, Stack
from script._lib.waiting import wait_until

GATEWAY = ("localhost", 8443)
FROZEN = "worker_shipping"


@pytest.fixture(scope="module", autouse=True)
def frozen(stack: Stack) -> None:
    """One worker is frozen all the while: nobody's order needs it, and the last test looks at what became of it."""
    stack.inside(FROZEN, "sh", "-c", "kill -STOP $(cat /tmp/heartbeats/*)")


@pytest.mark.parametrize("service", ["postgres", "rabbitmq", "migrate"])
def test_nobody_starts_before_what_it_needs(stack: Stack, service: str) -> None:
    needed = stack.inspect(service)["State"]
    since = needed["FinishedAt"] if service == "migrate" else needed["StartedAt"]
    assert service != "migrate" or (needed["ExitCode"], stack.inspect("migrate")["RestartCount"]) == (0, 0)
    for each in set(stack.services()) - SERVERS - {"mail"}:
        assert moment(stack.inspect(each)["State"]["StartedAt"]) > moment(since), each


def test_an_order_goes_all_the_way_to_its_mail(stack: Stack, channel: Channel) -> None:
    order = channel.place()
    channel.sees_confirmed(order)
    wait_until(lambda: order in stack.inside("mail", "sh", "-c", "cat /mailbox/mails/new/* || true"), 60, "its mail")


def test_every_setting_reaches_every_process(stack: Stack, settings: dict[str, str]) -> None:
    for service in set(stack.services()) - SERVERS - {"mail"}:
        seen = dict(line.split("=", 1) for line in stack.inside(service, "env").splitlines() if "=" in line)
        assert set(settings) <= set(seen), service
        ours = {name for name in settings if seen[name] != settings[name]}
        # Which ports and folders these are is the container's own affair, and who the servers are is a secret.
        servers = {"OWNER_DATABASE_URL", "DECLARING_BROKER_URL", "MANAGEMENT_URL"}
        assert ours == {"PORT", "FLOWER_PORT", "LOCAL_DIR"} | servers, service


def test_a_secret_is_what_its_file_says_to_the_letter(stack: Stack) -> None:
    told = "from django.conf import settings; print(settings.SECRET_KEY)"
    assert stack.inside("worker_orders", "python", "manage.py", "shell", "-v0", "-c", told).strip("\n") == SECRET_KEY
    for service in stack.services():
        assert "SECRET_KEY=$" not in str(stack.inspect(service)["Config"]["Env"])
    kept = (stack.project / "secrets/database_url").read_text().rpartition("@")[0].rpartition(":")[2]
    assert kept not in stack.must("sh", "-c", "docker inspect $(docker ps --all --quiet)")


def test_production_has_nothing_to_complain_of(stack: Stack) -> None:
    stack.inside("web", "python", "manage.py", "check", "--deploy", "--fail-level", "ERROR")


def test_the_image_knows_its_code(stack: Stack) -> None:
    told = "from django.conf import settings; print(settings.EVENTBUS_CODE_VERSION)"
    assert stack.inside("web", "python", "manage.py", "shell", "-v0", "-c", told).strip() == "compose-test"


def test_the_image_holds_what_runs_and_nothing_else(stack: Stack) -> None:
    files = set(
        stack.inside("web", "find", "/app", "/venv", "-not", "-name", "*.pyc", "-not", "-name", "__pycache__").split(
            "\n"
        )
    )
    ours = {file for file in files if file.startswith("/app/")}
    strange = r"/(tests?|tools|docs|\.git|\.env|\.venv|secrets|conftest\.py|README\.md|requirements-dev\.txt)(/|$)"
    assert not [file for file in ours if re.search(strange, file)]
    assert {file.split("/")[2] for file in ours} == {
        "analytics", "api", "code_version", "config", "console", "consumers", "deploy", "eventbus", "inventory",
        "manage.py", "notifications", "orders", "requirements.txt", "schemas", "script", "shipping", "staticfiles",
        "webhooks",
    }  # fmt: skip
    assert not [file for file in files if re.search(r"/(pip|pytest|mypy|ruff)$", file)]


def test_nobody_may_more_than_it_needs(stack: Stack) -> None:
    for service in stack.services():
        limits = stack.inspect(service)["HostConfig"]
        assert limits["Memory"] > 0, service
        assert limits["PidsLimit"] > 0, service
        assert limits["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}, service
        status = stack.inside(service, "cat", "/proc/self/status")
        assert "CapEff:\t0000000000000000" in status, service
        assert "CapBnd:\t0000000000000000" in status, service
        assert "NoNewPrivs:\t1" in status, service
        assert not re.search(r"^[UG]id:.*\b0\b", status, re.M), service
        assert "init" in stack.inside(service, "cat", "/proc/1/comm"), service
        written = stack.run("docker", "compose", "exec", "-T", service, "sh", "-c", "echo x >/x || echo x >/etc/x")
        assert written.stderr.count("Read-only file system") == 2, service


def test_roles_and_users_have_least_rights(stack: Stack) -> None:
    """As the application: from where the application runs."""
    ask = "from django.db import connection as c; k = c.cursor(); k.execute({!r}); print(k.fetchall())"

    def sql(service: str, query: str) -> subprocess.CompletedProcess[str]:
        shell = ("python", "manage.py", "shell", "-v0", "-c", ask.format(query))
        return stack.run("docker", "compose", "exec", "-T", service, *shell)

    me = "SELECT current_user, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert "[('pipeline_app', False, False)]" in sql("web", me).stdout
    # As the owner works who makes and drops partitions, and nobody else.
    owners = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = 'pipeline' ORDER BY 1"
    assert "[('heartbeat of worker_eventbus',), ('worker eventbus',)]" in sql("worker_eventbus", owners).stdout
    for forbidden in ("DELETE FROM event", "CREATE TABLE mine (id int)", "ALTER TABLE event DISABLE TRIGGER ALL"):
        refused = sql("relay", forbidden)
        assert "permission denied" in refused.stderr or "must be owner" in refused.stderr, forbidden
    users = stack.inside("rabbitmq", "rabbitmqctl", "--quiet", "list_users")
    assert sorted(line.split("\t")[0] for line in users.splitlines()[1:]) == [
        "pipeline", "pipeline_admin", "pipeline_declaring",
    ]  # fmt: skip


def test_flower_has_its_log_in_and_sees_the_broker(stack: Stack, settings: dict[str, str]) -> None:
    flower = f"http://127.0.0.1:{settings['FLOWER_PORT']}"
    name, _, password = (stack.project / "secrets/flower_basic_auth").read_text().strip().partition(":")
    assert httpx.get(f"{flower}/metrics").status_code == 401
    with httpx.Client(base_url=flower, auth=(name, password), timeout=60) as person:
        # It knows the queues that workers told it of.
        person.get("/api/workers", params={"refresh": "1"})
        wait_until(lambda: "inventory.reserve_stock" in person.get("/broker").text, 60, "the broker's page", every=2)


def test_metrics_are_for_who_is_inside_and_has_the_token(stack: Stack) -> None:
    ask = """
from urllib.request import Request, urlopen
token = open("/run/secrets/metrics_token").read().strip()
print(urlopen(Request("http://web:8000/metrics", headers={"Authorization": f"Bearer {token}"})).read().decode())
"""
    assert '\neventbus_processes{kind="relay"} 1.0\n' in stack.inside("web", "python", "-c", ask)


def test_the_gateway_speaks_for_the_web(stack: Stack, channel: Channel) -> None:
    plain = httpx.get("http://127.0.0.1:8080/admin/?a=1", headers={"Host": HOST})
    assert (plain.status_code, plain.headers["Location"]) == (308, f"https://{HOST}/admin/?a=1")
    log_in = channel.http.get("/admin/login/")
    assert log_in.status_code == 200
    assert all("Secure" in cookie for cookie in log_in.headers.get_list("Set-Cookie"))
    assert "Strict-Transport-Security" in log_in.headers
    assert channel.http.get("/health/live", headers={"Host": "10.0.0.7"}).json() == {"status": "ok"}
    assert channel.http.get("/metrics").status_code == 404
    assert channel.http.get("/api/v1/orders", headers={"Host": "elsewhere.example"}).status_code == 400
    large = channel.http.post("/api/v1/orders", content=b" " * 3_000_000)
    assert (large.status_code, large.headers["Content-Type"]) == (413, "application/problem+json")


@pytest.fixture
def stalled(stack: Stack) -> Iterator[None]:
    """200 clients who begin a request and say no more: half of them in its head, half in its body."""
    head = "POST /api/v1/orders HTTP/1.1\r\nHost: "
    with ExitStack() as open_ones:
        for number in range(200):
            client = stack.tls.wrap_socket(socket.create_connection(GATEWAY), server_hostname="localhost")
            open_ones.enter_context(client)
            client.sendall((head if number % 2 else f"{head}{HOST}\r\nContent-Length: 99\r\n\r\n{{").encode())
        yield


@pytest.mark.usefixtures("stalled")
def test_clients_that_stall_hold_nobody_up(channel: Channel) -> None:
    for _ in range(5):
        channel.sees_confirmed(str(channel.order().json()["orderId"]))


def test_while_the_web_is_away_the_gateway_asks_for_patience(stack: Stack, channel: Channel) -> None:
    stack.compose("stop", "web")
    away = channel.order()
    assert (away.status_code, away.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(away.headers["Retry-After"]) > 0
    stack.compose("start", "web")
    channel.sees_confirmed(channel.place())


def test_more_than_the_gateway_lets_through_at_once_is_told_to_come_again(stack: Stack, channel: Channel) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def connect(_: int) -> ssl.SSLSocket:
        """Connected, and heard once already: so the gateway waits for us."""
        client = stack.tls.wrap_socket(socket.create_connection(GATEWAY), server_hostname="localhost")
        client.sendall(f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert b"404" in client.recv(4_096)
        return client

    with ExitStack() as open_ones, ThreadPoolExecutor(8) as hands:
        clients = [open_ones.enter_context(client) for client in hands.map(connect, range(4_000))]
        for client in clients:
            client.sendall(b"GET /api/v1/orders HTTP/1.1\r\nHost: nobody's\r\n\r\n")
        answers = [client.recv(65_536) for client in clients]
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 429")]
    assert 0 < len(refused) < 2_000
    assert all(b"Retry-After: 1\r\n" in answer and b"application/problem+json" in answer for answer in refused)
    channel.sees_confirmed(channel.place())


@pytest.mark.parametrize("service", ["relay", "worker_inventory", "worker_orders", "web", "rabbitmq", "postgres"])
def test_who_is_killed_comes_again_and_no_order_is_lost(stack: Stack, channel: Channel, service: str) -> None:
    before = channel.place()
    began = stack.inspect(service)["State"]["StartedAt"]
    stack.kill(service)
    meanwhile = [channel.place() for _ in range(3)]
    wait_until(lambda: stack.inspect(service)["State"]["StartedAt"] != began, 60, f"{service} to start again")
    wait_until(lambda: stack.health(service) == "healthy", 180, f"{service} to be healthy", every=2)
    channel.sees_confirmed(before, *meanwhile)


def test_a_renewed_certificate_is_taken_up_without_a_broken_request(stack: Stack, channel: Channel) -> None:
    old = certificate()
    for name in ("cert.pem", "key.pem"):
        (stack.project / "secrets/tls" / name).unlink()
    subprocess.run([stack.project / "deploy/make-secrets"], check=True)
    stack.tls.load_verify_locations(cafile=str(stack.project / "secrets/tls/cert.pem"))
    with ThreadPoolExecutor(1) as customer:
        ordering = customer.submit(lambda: [channel.order().status_code for _ in range(30)])
        stack.inside("gateway", "nginx", "-c", "/etc/pipeline/nginx.conf", "-s", "reload")
        wait_until(lambda: certificate() != old, 30, "the new certificate")
        assert set(ordering.result()) == {201}


def certificate() -> str:
    return ssl.get_server_certificate(GATEWAY)


def test_a_frozen_worker_is_restarted(stack: Stack) -> None:
    await_the_frozen(stack)


def await_the_frozen(stack: Stack) -> None:
    wait_until(lambda: stack.inspect(FROZEN)["RestartCount"] > 0, 600, f"{FROZEN} to be restarted", every=2)
    wait_until(lambda: stack.health(FROZEN) == "healthy", 300, f"{FROZEN} to be healthy", every=2)


def test_down_and_up_again_keeps_the_data_and_fills_no_stock(stack: Stack, channel: Channel) -> None:
    order = channel.place()
    channel.sees_confirmed(order)
    left = channel.available()
    # Before that it could only be killed.
    await_the_frozen(stack)
    stack.compose("stop")
    ended = {service: stack.inspect(service)["State"]["ExitCode"] for service in stack.services()}
    # 137 would be one that had to be killed.
    assert {service for service, code in ended.items() if code == 137} == set()
    stack.compose("down")
    stack.up()
    assert channel.status(order) == "CONFIRMED"
    assert channel.available() == left
    channel.sees_confirmed(channel.place())
    stack.inside("web", "python", "manage.py", "verify_pipeline")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:26].rstrip("Z"))
