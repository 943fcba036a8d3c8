"""The parts of `jobs.train` that run elsewhere than on the driver, and what they share with it."""
