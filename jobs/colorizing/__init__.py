"""The parts of jobs.colorize."""
