"""Benchmarks: what the jobs cost, each run as `python -m benchmarks.NAME`."""
