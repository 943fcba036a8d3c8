"""An archive of scans: what is to be done, the worker that does it, and the ledger of what has been done."""
