# ncollapse measure in a container, on a CPU:
#   docker build -t ncollapse .
#   docker run --rm -v "$PWD:/data" ncollapse measure features.npz --output out
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
# torch without CUDA, from its own index; all else from PyPI at the pinned versions.
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 torchvision==0.28.0 \
 && pip install -c constraints.txt ".[data,vision,transformers]" \
 && useradd --create-home reader

USER reader
WORKDIR /data
ENTRYPOINT ["ncollapse"]
CMD ["--help"]
