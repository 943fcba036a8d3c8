"""One job at a time on an output: the second is refused before it has touched anything.

A local output is locked with `flock` on OUTPUT/_colornet/lock. The kernel lets go of it when the process ends, however
it ends. Between machines it holds as far as the network file system passes it on: NFS does, unless it is mounted with
nolock or local_lock. A file system that cannot lock gets a lease, as an object store does.

A *lease* is a small file or object in the same place, which its holder writes again every `BEAT_SECONDS`. Who finds one
watches it: if it changes, its holder lives, and the watcher is refused. If it stays the same for `PATIENT_BEATS`, its
holder has died, and the watcher takes it over. A holder that slept so long finds somebody else's lease, and must end.
"""

import errno
import json
import logging
import os
import platform
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import Timeout, UnixFileLock

from colornet.errors import ExistsError, LockedError, NotFoundError, StorageError
from colornet.storage import Storage, local, storage_errors, uris

log = logging.getLogger(__name__)

BEAT_SECONDS = 30.0
PATIENT_BEATS = 4
GRACE_SECONDS = 0.1
"""For a local lock whose file is just being removed by the job that held it."""
SETTLE_BEATS = 1 / 30
"""How long a new lease must stay as it is before it counts: not every server stops two from writing at once."""


class OutputLock:
    """A context in which no other job works on the same output."""

    def __init__(
        self, output: str, owner: str, storage: Storage = Storage(), *, beat_seconds: float = BEAT_SECONDS
    ) -> None:
        """Say which output folder or prefix is meant, and in whose name: the job's, for those who are refused."""
        self.storage = storage
        self.place = uris.own(output, "lock")
        self.owner = owner
        self.beat_seconds = beat_seconds

    def __enter__(self) -> "OutputLock":
        """Take the lock, after `PATIENT_BEATS` where a holder has died and left a lease.

        Raises:
            LockedError: if another job holds it; names its host, its process and since when.
            StorageError: if the place cannot be written to.
        """
        self._held = self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the lock, unless it is somebody else's by now."""
        self._held.release()

    def check(self) -> None:
        """Raise `LockedError` if another job has taken the lock over; `StorageError` if that cannot be told."""
        self._held.check()

    def _take(self) -> "_FileLock | _Lease":
        if not uris.is_s3(self.place):
            try:
                return _FileLock(self.place, self.owner)
            except _CannotLockError as error:
                log.warning("%s; a lease takes their place", error)
        return _Lease(self.storage, self.place, self.owner, self.beat_seconds)


class _CannotLockError(StorageError):
    """The file system knows no locks."""


class _FileLock:
    """A file that is locked as long as it is open. It is removed in the end, but left there by a process that dies."""

    def __init__(self, place: str, owner: str) -> None:
        self.place = Path(place)
        self.text = _text(_holder(owner))
        self.inode: tuple[int, int] | None = None
        self.lock = UnixFileLock(place, thread_local=False, fallback_to_soft=False, on_acquired=self._sign)
        with storage_errors(place):
            local.make_folder(self.place.parent)
            try:
                self.lock.acquire(timeout=GRACE_SECONDS, poll_interval=GRACE_SECONDS / 10)
            except Timeout as error:
                raise _refusal(place, self._read()) from error
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                    raise _CannotLockError(f"{place}: this file system has no locks") from error
                raise

    def check(self) -> None:
        with storage_errors(str(self.place)):
            if not self._is_in_place():
                raise LockedError(f"{self.place}: the lock was removed while this job held it")

    def release(self) -> None:
        try:
            if self._is_in_place():
                self.place.unlink()  # before it is let go of: after that it may be somebody else's
        except OSError as error:
            log.warning("%s: the lock could not be removed: %s", self.place, error.strerror)
        self.lock.release()

    def _sign(self, descriptor: int) -> None:
        """Say in the file who holds it."""
        found = os.fstat(descriptor)
        self.inode = found.st_dev, found.st_ino
        os.ftruncate(descriptor, 0)
        os.write(descriptor, self.text)

    def _read(self) -> bytes:
        """Return what the holder says; nothing if it has gone since."""
        try:
            return self.place.read_bytes()
        except FileNotFoundError:
            return b""

    def _is_in_place(self) -> bool:
        try:
            found = self.place.stat()
        except FileNotFoundError:
            return False
        return self.inode == (found.st_dev, found.st_ino)


class _Lease:
    """A file or object that says who holds the lock, and changes with every beat."""

    def __init__(self, storage: Storage, place: str, owner: str, beat_seconds: float) -> None:
        self.storage = storage
        self.place = place
        self.beat_seconds = beat_seconds
        self.me = {**_holder(owner), "id": uuid.uuid4().hex}
        self.beats = 0
        self.version = self._take()
        self.lost: LockedError | None = None
        self.over = threading.Event()
        self.beating = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self.beating.start()

    def check(self) -> None:
        if self.lost is None:
            self._look()
        if self.lost is not None:
            raise self.lost

    def release(self) -> None:
        self.over.set()
        self.beating.join()
        try:
            if self._look() is not None:
                self.storage.delete(self.place)
        except StorageError as error:
            log.warning("the lock could not be removed, the next job will wait until it has run out: %s", error)

    def _take(self) -> str:
        while True:
            try:
                version = self.storage.create(self.place, _text(self.me), "application/json")
            except ExistsError:
                dead = self._watch()
                if dead is None:
                    continue
                try:
                    version = self.storage.replace(self.place, _text(self.me), dead, "application/json")
                except (ExistsError, NotFoundError):
                    continue
            time.sleep(SETTLE_BEATS * self.beat_seconds)
            found = self.storage.read(self.place)
            if found.version == version:
                return version
            raise _refusal(self.place, found.data)

    def _watch(self) -> str | None:
        """Return the version of a lease whose holder has died, None if there is none any more; or raise LockedError."""
        try:
            first = self.storage.read(self.place)
            patience = PATIENT_BEATS * self.beat_seconds
            log.warning(
                "%s; waiting %.0f s to see whether that job is alive", _refusal(self.place, first.data), patience
            )
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                time.sleep(self.beat_seconds / 4)
                if self.storage.stat(self.place).version != first.version:
                    raise _refusal(self.place, self.storage.read(self.place).data)
        except NotFoundError:
            return None
        return first.version

    def _beat_on(self) -> None:
        while self.lost is None and not self.over.wait(self.beat_seconds):
            try:
                self._beat()
            except StorageError as error:
                log.warning("the lock could not be renewed: %s", error)

    def _beat(self) -> None:
        self.beats += 1
        try:
            text = _text({**self.me, "beat": self.beats})
            self.version = self.storage.replace(self.place, text, self.version, "application/json")
        except (ExistsError, NotFoundError):
            # An earlier beat may have been written although its answer was lost.
            self.version = self._look() or self.version

    def _look(self) -> str | None:
        """Return the version of the lease if it is still ours; None, and remember that it is lost, if not."""
        try:
            found = self.storage.read(self.place)
        except NotFoundError:
            self.lost = LockedError(f"{self.place}: the lock was removed while this job held it")
            return None
        if _read(found.data).get("id") != self.me["id"]:
            self.lost = _refusal(self.place, found.data)
            return None
        return found.version


def _holder(owner: str) -> dict[str, object]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"owner": owner, "host": platform.node(), "pid": os.getpid(), "since": now}


def _text(holder: dict[str, object]) -> bytes:
    return json.dumps(holder).encode()


def _read(data: bytes) -> dict[str, object]:
    """Return what a lock says of its holder; nothing if that was never written, or not by us."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(place: str, data: bytes) -> LockedError:
    found = _read(data)
    owner, host, pid, since = (
        " ".join(str(found.get(name, "?")).split())[:100] for name in ("owner", "host", "pid", "since")
    )
    return LockedError(f"{place}: another job holds the output: {owner} on host {host}, process {pid}, since {since}")
