# S3, SES and a mailbox page for compose.yaml; a tool for trying things out, not for production.
ARG BASE=docker.io/library/python:3.13.16-slim-trixie@sha256:bf44cdfcb76cd3b41e879bc058fc37ec5872002ccfde7fcb765e218cde0cd79c

FROM ${BASE}
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements-dev.txt /
RUN python3 -m venv /venv \
  && /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --requirement /requirements-dev.txt \
  && install --directory --owner=10001 --group=10001 /data
WORKDIR /app
COPY chalicelib chalicelib
COPY infra infra
USER 10001:10001
VOLUME /data
