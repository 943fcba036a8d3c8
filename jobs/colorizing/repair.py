"""What the check of an output finds amiss, to be done again (--repair)."""

from colornet.archive.audit import MENDED_BY_REPAIR, audit
from colornet.archive.task import ColorizeTask


def amiss(task: ColorizeTask) -> tuple[str, ...]:
    """Check the run's rows against what is there, which reads every output, and say what was found.

    Returns:
        The uris of the sources that are to be done again, sorted.

    Raises:
        StorageError: if the output cannot be listed.
    """
    findings = audit(task.output, task.run, storage=task.storage)
    mended = [found for found in findings if found.kind in MENDED_BY_REPAIR]
    again = tuple(sorted({found.source for found in mended}))
    print(f"the check found {len(again)} scans of this run that are to be done again")
    if others := len(findings) - len(mended):
        print(f"  and {others} things that this does not mend: python -m jobs.ledger {task.output} --check lists them")
    return again
