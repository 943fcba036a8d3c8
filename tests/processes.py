"""Processes that a test has started, by the titles that Ray gives them."""

import contextlib

import psutil


def below(pid: int, title: str) -> list[psutil.Process]:
    """List all processes below another with these words in their title, but for those that have just ended."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found
