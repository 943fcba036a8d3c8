"""An archive of scans: what is to be done, the stages that do it, and the ledger of what has been done."""
