"""Starting Ray: embedded on a laptop, or the cluster that the job was submitted to."""

import logging
import os

import ray
import ray.data

IDLE_WORKER_MS = 600_000
"""On few cores Ray ends a worker process that has been idle for a second, and the next task waits seconds for another
to import PyTorch. A machine that runs one job has no better use for the memory."""


def start_ray(*, worker_logs: bool = True) -> None:
    """Connect to the cluster named by RAY_ADDRESS (as `ray job submit` sets it), or start an embedded Ray.

    The embedded one has no dashboard and takes all cores of this machine; it stops with the process. A Ray that is
    already running in this process (a test's) is used as it is.

    Without `worker_logs`, what workers print and log goes to Ray's log files only.
    """
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        if address:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=worker_logs)
        else:
            # An embedded Ray listens on this machine only; a token file in the user's home would outlive it and
            # confuse a later `ray start`.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            ray.init(
                address="local",
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=worker_logs,
                _system_config={"idle_worker_killing_time_threshold_ms": IDLE_WORKER_MS},
            )
    quieten_ray_data()


def quieten_ray_data() -> None:
    """Keep Ray Data's own progress and chatter out of a job's output, in this process."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the jobs print their own, one for the whole job
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It says once a job that its bars are off, as a warning.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
