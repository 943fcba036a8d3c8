"""Starting Ray: embedded on a laptop, or the cluster that the job was submitted to."""

import logging
import os
import signal
from typing import Any, Literal

import ray
import ray.data

from . import ray_private


def start_ray(*, worker_logs: bool = True, log_format: Literal["text", "json"] = "text") -> None:
    """Connect to the cluster named by RAY_ADDRESS (as `ray job submit` sets it), or start an embedded Ray.

    The embedded one has no dashboard and takes all cores of this machine; it stops with the process. A Ray that is
    already running in this process (a test's) is used as it is.

    Without `worker_logs`, what workers print and log goes to Ray's log files only. With `json` the driver and all
    workers log a JSON object a line, which has Ray's ids of job, node, worker and task, and the scan's uri in
    `source_uri` if it is about a scan.
    """
    logs: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": worker_logs}
    if log_format == "json":
        logs["logging_config"] = ray.LoggingConfig(encoding="JSON", additional_log_standard_attrs=["name"])
    on_termination = signal.getsignal(signal.SIGTERM)
    if not ray.is_initialized():
        if on_cluster():
            ray.init(address=os.environ["RAY_ADDRESS"], **logs)
        else:
            # An embedded Ray listens on this machine only; a token file in the user's home would outlive it and
            # confuse a later `ray start`.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            ray_private.keep_idle_workers()
            ray_private.keep_priority()
            ray.init(address="local", include_dashboard=False, **logs)
        signal.signal(signal.SIGTERM, on_termination)  # Ray's own would end the process with the wrong exit code
    quieten_ray_data()


def on_cluster() -> bool:
    """Whether jobs run on a cluster, that may grow, and not on this machine alone."""
    return bool(os.environ.get("RAY_ADDRESS"))


def quieten_ray_data() -> None:
    """Keep Ray Data's own progress and chatter out of a job's output, in this process."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the jobs print their own, one for the whole job
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It says once a job that its bars are off, as a warning.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
