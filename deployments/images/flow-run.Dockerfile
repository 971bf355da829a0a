# The image of flow runs and of the worker that starts them. From the checkout's root:
#   docker build -f deployments/images/flow-run.Dockerfile -t REGISTRY/claude-jobs/flow-run:0.1.0 .
FROM python:3.11-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.13 /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# Compiled here: pods cannot write beside the files, and would compile at every start. By content,
# since layers may change the files' times.
ENV UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
WORKDIR /opt/claude-jobs
# What it depends on, in a layer of its own.
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-dev --no-install-project
COPY README.md ./
COPY blocks blocks
COPY flows flows
COPY tasks tasks
RUN uv sync --locked --no-dev --no-editable

FROM python:3.11-slim-bookworm
# Checks what agents made of their repositories, and pushes it, by https or ssh.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/claude-jobs/.venv /opt/claude-jobs/.venv
COPY deployments/prefect.yaml /opt/claude-jobs/deployments/prefect.yaml
WORKDIR /opt/claude-jobs
# HOME and Prefect's files are where everybody may write: the root file system is read-only in pods.
ENV PATH=/opt/claude-jobs/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
