# `klip serve` in a container, with the shipped weights inside.
#
#     docker build -t klip-server .
#     docker run --gpus all -p 8443:8443 -v klip:/data -v "$PWD/tls:/tls:ro" klip-server \
#       --certificate /tls/cert.pem --key /tls/key.pem
#
# Without a certificate it says why it does not start. The token is made in /data/token, or read from a secret:
# --token-file /run/secrets/klip_token. Research software, not a medical device.

# Any image with python (3.11 or newer) and pip; a hospital may have to name a base of its own.
ARG BASE=python:3.12-slim
FROM ${BASE}

# A plain torch brings the CUDA libraries; for a computer without a GPU, name a CPU build.
ARG TORCH=torch==2.13.0

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/klip
COPY pyproject.toml README.md LICENSE.txt ./
COPY KLIPCore ./KLIPCore
RUN pip install "$TORCH" && pip install ".[server]" && rm -rf /opt/klip/*

RUN useradd --create-home --uid 10001 klip && mkdir /data && chown klip /data && chmod 700 /data
USER klip
WORKDIR /data
VOLUME /data
EXPOSE 8443

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8443), 3).close()"]

ENTRYPOINT ["klip", "serve", "--host", "0.0.0.0", "--port", "8443", "--folder", "/data"]
