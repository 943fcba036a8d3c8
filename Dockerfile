# Colornet for a laptop without a GPU, in one command that colorizes a folder:
#
#   docker build -t colornet .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/scans:/scans:ro" -v "$PWD/colour:/colour" colornet
#
# Other commands, and other flags, take the place of the last line: docker run ... colornet photo /scans -o /colour --help
FROM python:3.12-slim

# Which PyTorch is installed: PyPI's is the build for CUDA, which runs on CPUs too and takes 4 GB more. With
# --build-arg PIP_EXTRA_INDEX_URL, the index of PyTorch's CPU wheels (see the selector on pytorch.org), pip takes those.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /opt/colornet
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY colornet ./colornet
COPY jobs ./jobs
RUN pip install --no-cache-dir --constraint constraints.txt .

# Whoever runs it may have no home; Numba keeps what it compiles, from the first photograph on.
ENV HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba
WORKDIR /tmp
ENTRYPOINT ["colornet"]
CMD ["photo", "/scans", "--output", "/colour"]
