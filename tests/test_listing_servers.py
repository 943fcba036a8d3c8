"""Listings of servers that have habits of their own: every key comes once, or an error says what the server lacks."""

import os

import pytest

from colornet.errors import StorageError
from colornet.storage import Storage
from tests.listing_server import BUCKET, ENVIRONMENT, running_listing

storage = Storage()
KEYS = [f"{box}/{number:03}.jpg" for box in ("a", "b", "ü") for number in range(20)]
PLACE = f"s3://{BUCKET}"


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def listed(threads: int) -> list[str]:
    if not threads:
        return [found.key for found in storage.listing(PLACE)]
    return sorted(found.key for page in storage.listing_pages(PLACE, threads) for found in page)


@pytest.mark.parametrize("threads", [0, 1, 8])
@pytest.mark.parametrize("mode", ["sound", "token beyond"])
@pytest.mark.parametrize("page", [1, 5])
def test_every_key_comes_once(monkeypatch, mode, page, threads):
    with running_listing(KEYS, mode, page) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert listed(threads) == KEYS
        assert [found.key for found in storage.listing(f"{PLACE}/ü")] == [key[2:] for key in KEYS if key[0] == "ü"]


@pytest.mark.parametrize("threads", [0, 1, 8])
@pytest.mark.parametrize(("mode", "words"), [("v1", "V1"), ("unordered", "order"), ("lost", "there are more keys")])
def test_what_a_server_lacks_is_an_error_and_no_short_or_endless_listing(monkeypatch, mode, words, threads):
    with running_listing(KEYS, mode, 5) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(StorageError, match=f"^{PLACE}: the server .*{words}"):
            listed(threads)
        assert server.requests < 100


def test_a_server_of_v1_is_listed_if_all_keys_fit_on_a_page(monkeypatch):
    with running_listing(KEYS[:5], "v1", 5) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert listed(0) == listed(4) == KEYS[:5]


def test_a_marker_of_the_folder_is_gone_on_from(monkeypatch):
    with running_listing(["scans/", "scans/a.jpg", "scans/b.jpg"], "sound", 1) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert [found.key for found in storage.listing(f"{PLACE}/scans")] == ["a.jpg", "b.jpg"]
