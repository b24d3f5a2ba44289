# The server as an image: see docs/image.md. Every argument has a default that builds.

# A release names the base with its digest: BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS libraries
ARG BASE
ARG RELEASE=no
ARG TORCH=none
ARG TORCH_INDEX=
ARG TRACES=none
WORKDIR /app
COPY requirements.txt ./
COPY deploy/image/check_base.sh deploy/image/install.sh deploy/image/requirements.txt \
     deploy/image/requirements-otel.txt ./deploy/image/
RUN sh deploy/image/check_base.sh "${BASE}" "${RELEASE}" && sh deploy/image/install.sh /opt/venv
ENV PATH=/opt/venv/bin:${PATH}

# With no more of the server than fetches a model, so that another change of it fetches none anew.
FROM libraries AS weights
ARG MODEL=compact
ARG MODEL_SHA256=
ARG HF_ENDPOINT=https://huggingface.co
ARG TORCH_INDEX=
COPY deploy/image/weights.py deploy/image/weights.sh ./deploy/image/
COPY models ./models
COPY sentiment/__init__.py sentiment/errors.py sentiment/hub.py sentiment/manifest.py \
     sentiment/models.py sentiment/origin.py sentiment/tokenization.py ./sentiment/
RUN --mount=type=secret,id=hf_token sh deploy/image/weights.sh "${MODEL}" /models/model

FROM libraries AS server
COPY deploy/image ./deploy/image
COPY sentiment ./sentiment
COPY --from=weights /models/model /models/model
RUN sh deploy/image/warm.sh /opt/venv /app /models/model

FROM ${BASE}
RUN --mount=type=bind,from=server,source=/app/deploy/image,target=/build sh /build/strip.sh
COPY --from=server /models/model /models/model
COPY --from=server /opt/venv /opt/venv
COPY --from=server /app/deploy/image/health.py /app/
COPY --from=server /app/sentiment /app/sentiment
COPY LICENSE /app/

WORKDIR /app
# The home is where every library keeps what it must: /tmp is all that may be written to. Nothing
# is fetched at start: HF_HUB_OFFLINE=0 lets SENTIMENT_MODEL name a model of the Hub after all.
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SENTIMENT_MODEL=/models/model
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/app/health.py"]
ENTRYPOINT ["python", "-m", "sentiment"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

# Last, because they change with every build.
ARG BASE
ARG MODEL=compact
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="sentiment" \
      org.opencontainers.image.description="A batch server for financial sentiment. Its model has terms of its own: /models/model/README.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}" \
      sentiment.model="${MODEL}"
