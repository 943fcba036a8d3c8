"""The jobs: the only code that imports Ray. Each is run as `python -m jobs.NAME`; `--help` says how."""
