"""A real S3 server on loopback: OpenStack Swift with its s3api, as four child processes in one folder.

Swift checks signatures, keeps objects on disk and answers as S3 does, so what passes here was tested against a server
and not against a mock. It needs no root and no syslog, only a file system with extended attributes.
"""

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY, SECRET_KEY = "test:tester", "testing"
REGION = "eu-central-1"  # not the default region, so that code which forgets the region is refused
STARTUP_SECONDS = 60
SERVERS = ("account", "container", "object", "proxy")

# Swift is run and never imported: it would bring eventlet into the process of the tests.
# Every server has all of its partitions on one device.
_WRITE_RINGS = """\
import sys
from swift.common.ring import RingBuilder

folder, *servers = sys.argv[1:]
for name, port in zip(servers[::2], servers[1::2]):
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "disk", "weight": 1.0})
    ring.rebalance(seed=0)
    ring.get_ring().save(f"{folder}/{name}.ring.gz")
"""

# The servers end with the process that started them, even if that one is killed and never reaches its clean-up.
_LAUNCH = "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGTERM); from {module} import main; main()"

_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = colornet

[storage-policy:0]
name = single
default = yes
"""

# workers = 0: the process that was started is the one that serves, and the only one to stop.
_DEFAULTS = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_level = WARNING
"""

# The generous time-outs are for busy machines: a container update that is late makes a listing miss an object.
_STORAGE_CONF = """\
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
node_timeout = 60
conn_timeout = 10
container_update_timeout = 60
"""

_PROXY_CONF = """\
[pipeline:main]
pipeline = s3api tempauth bulk slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 60
recoverable_node_timeout = 60
conn_timeout = 10

[filter:s3api]
use = egg:swift#s3api
location = {region}
storage_domain = localhost

[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo
"""


@dataclass(frozen=True)
class S3Server:
    """Where the server listens and the only credentials that it accepts."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    @property
    def env(self) -> dict[str, str]:
        """The AWS_* variables with which boto3, Arrow and child processes find this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def running_swift(folder: Path) -> Iterator[S3Server]:
    """Serve S3 from `folder` (objects, configuration and logs) until the block ends."""
    _require_extended_attributes(folder)
    ports = dict(zip(SERVERS, _free_ports(len(SERVERS)), strict=True))
    _write_configuration(folder, ports)
    _write_rings(folder, ports)
    with contextlib.ExitStack() as running:
        processes = {name: running.enter_context(_process(folder, name)) for name in SERVERS}
        _wait_until_ready(folder, ports, processes)
        yield S3Server(endpoint=f"http://127.0.0.1:{ports['proxy']}")


def _require_extended_attributes(folder: Path) -> None:
    try:
        os.setxattr(folder, "user.colornet", b"1")
    except OSError as error:
        pytest.fail(f"Swift needs extended attributes, and {folder} has none ({error.strerror}): set --basetemp")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _write_configuration(folder: Path, ports: dict[str, int]) -> None:
    (folder / "swift.conf").write_text(_SWIFT_CONF)
    for name, port in ports.items():
        user = ACCESS_KEY.replace(":", "_")
        sections = _PROXY_CONF.format(region=REGION, user=user, secret=SECRET_KEY)
        if name != "proxy":
            sections = _STORAGE_CONF.format(name=name)
        defaults = _DEFAULTS.format(port=port, user=getpass.getuser(), folder=folder)
        (folder / f"{name}.conf").write_text(f"{defaults}\n{sections}")


def _write_rings(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices" / "disk").mkdir(parents=True)
    servers = [word for name, port in ports.items() if name != "proxy" for word in (name, str(port))]
    subprocess.run([sys.executable, "-c", _WRITE_RINGS, str(folder), *servers], check=True)


@contextlib.contextmanager
def _process(folder: Path, name: str) -> Iterator[subprocess.Popen]:
    module = "swift.obj.server" if name == "object" else f"swift.{name}.server"
    command = [sys.executable, "-c", _LAUNCH.format(module=module), str(folder / f"{name}.conf"), "--verbose"]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(folder: Path, ports: dict[str, int], processes: dict[str, subprocess.Popen]) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    for name, process in processes.items():
        while not _accepts(ports[name]):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (folder / f"{name}.log").read_text(errors="replace")[-2000:]
                pytest.fail(f"Swift's {name} server did not start (exit code {process.poll()}). Its log ends:\n{tail}")
            time.sleep(0.05)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
