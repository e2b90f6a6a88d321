"""A real Kafka broker, and a cluster of them, as child processes of the tests.

`Broker` starts one broker with its own data on free ports of the loopback interface, and can stop it, kill it with
SIGKILL and start it again on the same data. `Cluster` does the same for several. Run this file to prepare the jars:
`python -m tests.kafka.broker`.
"""

from __future__ import annotations

import atexit
import base64
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka import distribution

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
CLIENT_TIMEOUT_S = 30.0

# Ports below the ephemeral range. A port inside it may be taken, while the broker is down, by the source side of a
# client's own connection attempt: TCP then connects to itself and the broker cannot come back.
PORTS = range(20_000, 32_000)

QUICK_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Starts soon and needs little, but its code stays slow: for tests."""

SERVER_JVM = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)
"""As Kafka's own script starts its brokers (`kafka-run-class.sh`): for measurements."""


@dataclass(frozen=True)
class Node:
    """The address of one broker of a cluster."""

    id: int
    port: int
    controller_port: int

    @classmethod
    def on_free_ports(cls, node_id: int) -> Node:
        """A node whose two ports were free a moment ago."""
        return cls(node_id, _free_port(), _free_port())


class Broker:
    """One Kafka broker (combined broker and controller) in a process of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        node: Node | None = None,
        nodes: Sequence[Node] = (),
        cluster_id: str | None = None,
        overrides: Mapping[str, str | int] | None = None,
        heap_mb: int = 384,
        jvm: Sequence[str] = QUICK_JVM,
    ) -> None:
        """Prepares a broker that has not been started.

        Args:
            directory: holds the data, the configuration and the log of the process; created if missing.
            node: this broker's id and ports; free ports are looked for when it is not given.
            nodes: all brokers of the cluster, when there is more than this one.
            cluster_id: shared by the brokers of one cluster; a new one when it is not given.
            overrides: lines of `server.properties` that replace or extend the usual ones.
            heap_mb: the size of the Java heap in MiB.
            jvm: options of Java, see `QUICK_JVM` and `SERVER_JVM`.
        """
        distribution.prepare()
        self.node = node or Node.on_free_ports(1)
        self.nodes = tuple(nodes) or (self.node,)
        self.cluster_id = cluster_id or new_cluster_id()
        self.bootstrap = f"127.0.0.1:{self.node.port}"
        self._directory = directory
        self._heap_mb = heap_mb
        self._jvm = jvm
        self._properties = directory / "server.properties"
        self._output = directory / "output.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: AdminClient | None = None
        directory.mkdir(parents=True, exist_ok=True)
        lines = _server_properties(self.node, self.nodes, directory / "data") | dict(overrides or {})
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    @property
    def pid(self) -> int:
        """The id of the Java process itself.

        Raises:
            RuntimeError: the broker is not running.
        """
        if self._process is None:
            raise RuntimeError("the broker is not running; call `start()` first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive (not whether it answers)."""
        return self._process is not None and self._process.poll() is None

    @property
    def admin(self) -> AdminClient:
        """An admin client of this broker, made when first asked for."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def start(self, *, wait: bool = True) -> Broker:
        """Starts the process on the data that is there; with `wait`, returns when the broker lists its topics.

        Raises:
            RuntimeError: the broker ended, or did not answer within a minute; the message holds its last lines.
        """
        if self.running:
            raise RuntimeError("the broker is running already; call `stop()` first")
        if not (self._directory / "data" / "meta.properties").is_file():
            self._format()
        with self._output.open("ab") as output:
            # No shell between us and Java: the pid that is held is the one that gets the signals.
            self._process = subprocess.Popen(self._command(), stdout=output, stderr=subprocess.STDOUT)
        atexit.register(self.kill9)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Returns when an admin client gets this broker in the list of the cluster's members."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        # A new client each time would wait out its own connection backoff; one client reconnects within 100 ms.
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 100, "log_level": 0})
        while time.monotonic() < deadline:
            if not self.running:
                raise RuntimeError(f"the broker ended while it started:\n{self.tail()}")
            try:
                if self.node.id in admin.list_topics(timeout=1.0).brokers:
                    return
            except Exception:  # noqa: BLE001 - every error here means `not yet`; the deadline ends the wait
                pass
        raise RuntimeError(f"the broker did not answer within {READY_TIMEOUT_S:.0f} s:\n{self.tail()}")

    def stop(self) -> None:
        """Asks the broker to stop and waits until it has; kills it when it takes longer than half a minute."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._reap()

    def kill9(self) -> None:
        """Ends the process with SIGKILL, as a crash would; the data stay as they are."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def restart(self) -> Broker:
        """Starts the broker again on the same data and ports, after stopping it if it runs."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Stops the process with SIGSTOP: connections stay open and nothing answers. Ends with `thaw()`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process run again."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stops the broker and removes its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def cpu_seconds(self) -> float:
        """The processor time, user and system, that the running process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def create_topic(
        self, name: str, *, partitions: int = 1, replication: int = 1, config: Mapping[str, str | int] | None = None
    ) -> str:
        """Creates a topic, waits until every partition has a leader, and returns its name."""
        texts = {key: str(value) for key, value in (config or {}).items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=texts)
        self.admin.create_topics([topic])[name].result(CLIENT_TIMEOUT_S)
        self._await_topic(name, partitions)
        return name

    def delete_topic(self, name: str) -> None:
        """Deletes a topic and waits until the broker no longer lists it."""
        self.admin.delete_topics([name])[name].result(CLIENT_TIMEOUT_S)
        deadline = time.monotonic() + CLIENT_TIMEOUT_S
        while name in self.admin.list_topics(timeout=CLIENT_TIMEOUT_S).topics:
            if time.monotonic() > deadline:
                raise RuntimeError(f"topic `{name}` is still listed {CLIENT_TIMEOUT_S:.0f} s after it was deleted")

    def tail(self, lines: int = 40) -> str:
        """The last lines that the process printed."""
        if not self._output.is_file():
            return ""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-lines:])

    def _await_topic(self, name: str, partitions: int) -> None:
        deadline = time.monotonic() + CLIENT_TIMEOUT_S
        while time.monotonic() < deadline:
            found = self.admin.list_topics(topic=name, timeout=CLIENT_TIMEOUT_S).topics[name]
            if len(found.partitions) == partitions and all(part.leader >= 0 for part in found.partitions.values()):
                return
        raise RuntimeError(f"topic `{name}` has no leaders {CLIENT_TIMEOUT_S:.0f} s after it was created")

    def _format(self) -> None:
        arguments = ["kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(self._properties)]
        command = distribution.java_command("-Xshare:auto", "-XX:TieredStopAtLevel=1") + arguments
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the data folder could not be formatted:\n{done.stdout}{done.stderr}")

    def _command(self) -> list[str]:
        heap = [f"-Xms{self._heap_mb}m", f"-Xmx{self._heap_mb}m"]
        archive = distribution.class_data_archive()
        sharing = [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off"] if archive.is_file() else []
        return [*distribution.java_command(*heap, *self._jvm, *sharing), "kafka.Kafka", str(self._properties)]

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._process = None
        self._admin = None
        atexit.unregister(self.kill9)

    def __enter__(self) -> Broker:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class Cluster:
    """Several brokers, replication over all of them, a write acknowledged once all but one hold it."""

    def __init__(
        self, directory: Path, *, size: int = 3, overrides: Mapping[str, str | int] | None = None, heap_mb: int = 384
    ) -> None:
        """Prepares `size` brokers that have not been started, each in a folder of its own below `directory`."""
        nodes = [Node.on_free_ports(number) for number in range(1, size + 1)]
        cluster_id = new_cluster_id()
        self.brokers = [
            Broker(
                directory / f"broker-{node.id}",
                node=node,
                nodes=nodes,
                cluster_id=cluster_id,
                overrides=overrides,
                heap_mb=heap_mb,
            )
            for node in nodes
        ]
        self.bootstrap = ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> Cluster:
        """Starts all brokers at once and returns when each of them answers."""
        for broker in self.brokers:
            broker.start(wait=False)
        for broker in self.brokers:
            broker.wait_ready()
        return self

    def create_topic(self, name: str, *, partitions: int = 1, config: Mapping[str, str | int] | None = None) -> str:
        """Creates a topic that every broker holds, and returns its name."""
        broker = next(broker for broker in self.brokers if broker.running)
        return broker.create_topic(name, partitions=partitions, replication=len(self.brokers), config=config)

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """The broker that leads a partition at this moment."""
        broker = next(broker for broker in self.brokers if broker.running)
        number = (
            broker.admin.list_topics(topic=topic, timeout=CLIENT_TIMEOUT_S).topics[topic].partitions[partition].leader
        )
        return next(broker for broker in self.brokers if broker.node.id == number)

    def close(self) -> None:
        """Ends all brokers and removes their data."""
        for broker in self.brokers:
            # Brokers that are asked to stop one by one wait half a minute for a quorum that is gone.
            broker.kill9()
            broker.close()

    def __enter__(self) -> Cluster:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def new_cluster_id() -> str:
    """A cluster id as Kafka writes it: 22 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _free_port() -> int:
    for _ in range(1_000):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no free port between {PORTS.start} and {PORTS.stop}")


def _server_properties(node: Node, nodes: Sequence[Node], data: Path) -> dict[str, str | int]:
    """A small, quick broker: tiny internal topics, short sessions so that a killed broker is soon welcome again."""
    replicas, in_sync = len(nodes), max(1, len(nodes) - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{other.id}@127.0.0.1:{other.controller_port}" for other in nodes),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "min.insync.replicas": in_sync,
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 500,
        # Members of `group.protocol=consumer` do not choose these.
        "group.consumer.min.session.timeout.ms": 500,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.min.heartbeat.interval.ms": 500,
        "group.consumer.heartbeat.interval.ms": 1000,
        "auto.create.topics.enable": "false",
        "log.retention.hours": -1,
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    }


def _write_class_data_archive() -> None:
    """Runs one broker to the end so that Java leaves an archive of the classes that it loaded."""
    archive = distribution.class_data_archive()
    if archive.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder) / "broker")
        unfinished = archive.with_suffix(".part")
        os.environ["JDK_JAVA_OPTIONS"] = f"-XX:ArchiveClassesAtExit={unfinished}"
        try:
            broker.start().stop()
        finally:
            del os.environ["JDK_JAVA_OPTIONS"]
        if unfinished.is_file():
            unfinished.rename(archive)


def main() -> int:
    """Prepares everything that a broker needs, and says what is missing when that cannot be done."""
    try:
        distribution.prepare()
    except distribution.BrokerUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _write_class_data_archive()
    return 0


if __name__ == "__main__":
    sys.exit(main())
