"""Which packages are installed. The rest of the metadata is in pyproject.toml.

The folder jobs/ is installed as the package `colornet_jobs`: a top-level package called jobs would be in many people's
way. pyproject.toml could say this only with a list of all packages by hand.
"""

from setuptools import find_packages, setup

JOBS = "jobs"

jobs = find_packages(include=[JOBS, f"{JOBS}.*"])
setup(
    packages=find_packages(include=["colornet", "colornet.*"]) + [f"colornet_{name}" for name in jobs],
    package_dir={f"colornet_{JOBS}": JOBS} if jobs else {},
)
