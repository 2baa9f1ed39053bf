"""PostgreSQL and RabbitMQ that are reached by TLS, with certificates of an authority of the test's own."""

import shutil
from collections.abc import Mapping

from script._lib.local import LOGS, passwords
from script._lib.rabbitmq import USERS
from script._lib.service import has_ended
from tests.support.certificates import Authority, Certificate
from tests.support.small_postgres import AS_SERVER_USER, SmallPostgres
from tools.harness.cluster import Node
from tools.harness.ports import free_port


class TlsPostgres(SmallPostgres):
    """Lets `pipeline` in by TLS with a certificate of its own, and the owner without TLS."""

    def protect(self, authority: Authority, server: Certificate) -> None:
        """Show this certificate from now on; takes a restart."""
        self.stop()
        for name, source in (
            ("ca.pem", authority.file),
            ("server.pem", server.certificate),
            ("server.key", server.key),
        ):
            target = self.data / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            if AS_SERVER_USER:
                shutil.chown(target, "postgres", "postgres")
        (self.data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhostssl all pipeline 127.0.0.1/32 trust clientcert=verify-full\n"
        )
        settings = {
            "ssl": "on",
            "ssl_ca_file": "ca.pem",
            "ssl_cert_file": "server.pem",
            "ssl_key_file": "server.key",
            "max_connections": 60,
        }
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()


class TlsRabbitMQ(Node):
    """A node that wants a certificate of who comes by TLS."""

    def __init__(self, authority: Authority, server: Certificate) -> None:
        super().__init__(1, None)
        self.authority, self.server = authority, server
        # Not those of the cluster: an outgoing connection of a test before may hold one of them.
        self.epmd, self.tls = free_port(), free_port()
        self.ports = self.amqp, self.management, self.dist = free_port(), free_port(), free_port()

    def prepare(self) -> None:
        super().prepare()
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.amqp}\n"
            f"listeners.ssl.default = 127.0.0.1:{self.tls}\n"
            f"ssl_options.cacertfile = {self.authority.file}\n"
            f"ssl_options.certfile = {self.server.certificate}\n"
            f"ssl_options.keyfile = {self.server.key}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management}\n"
            f"load_definitions = {self.home / 'definitions.json'}\n"
        )

    def start(self) -> None:
        """Begins empty; returns when it answers."""
        shutil.rmtree(self.home, ignore_errors=True)
        LOGS.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.await_ready(self.spawn())

    def remove(self) -> None:
        """End it; nothing of it is kept."""
        if (pid := self.pid()) and not has_ended(pid):
            self.kill(pid)
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def tls_url(
        self, parameters: Mapping[str, object], *, host: str = "localhost", vhost: str = "/", user: str = "pipeline"
    ) -> str:
        said = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"amqps://{user}:{passwords()[USERS[user][0]]}@{host}:{self.tls}/{vhost}?{said}"
