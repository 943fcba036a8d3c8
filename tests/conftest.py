"""Fixtures that several test modules share."""

import os
import uuid
from collections.abc import Iterator

import boto3
import hypothesis
import pytest
import ray

from jobs import ray_private
from tests.s3 import S3Server, running_swift

# How long an example takes says more of the machine's other work than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server on loopback, started by the first test that asks for it."""
    with running_swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The uri of a fresh, empty bucket, on a server that only the environment knows of."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    bucket = f"bucket-{uuid.uuid4().hex}"
    place = {"LocationConstraint": s3_server.region}
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    yield f"s3://{bucket}"


@pytest.fixture(scope="module")
def ray_local() -> Iterator[None]:
    """An embedded Ray of four small cores, for one module: starting one takes seconds. Only Ray believes in its GPU."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray_private.keep_idle_workers()
    ray_private.keep_priority()
    ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, object_store_memory=300_000_000)
    yield
    ray.shutdown()
