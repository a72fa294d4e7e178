# Four images from one file: `--target sender`, `receiver`, `service` (both halves; the default) or `edge`.
# None holds torch, a compiler or training code; a sender has no decoder.onnx, a receiver no encoder.onnx. The edge holds
# nginx and no part of the service.

FROM python:3.11-slim-bookworm AS environment
WORKDIR /build
RUN python3 -m venv --without-pip /opt/latentwire
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Dependencies have a layer of their own, so that a change of code installs nothing anew.
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; e = p['optional-dependencies']; \
      print('\n'.join(p['dependencies'] + e['service'] + e['signing'] + e['tracing']))" > requirements.txt \
 && pip --python /opt/latentwire/bin/python3 install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY latentwire latentwire
RUN pip --python /opt/latentwire/bin/python3 install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm AS models
COPY models /both
RUN cp -r /both /sender && find /sender -name decoder.onnx -delete \
 && cp -r /both /receiver && find /receiver -name encoder.onnx -delete

FROM python:3.11-slim-bookworm AS edge
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nginx-light \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
 && useradd --system --uid 10001 --no-create-home latentwire
COPY deploy/edge.py deploy/nginx.conf.template /opt/edge/
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTWIRE_EDGE_UPSTREAMS=latentwire:8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python3", "/opt/edge/edge.py", "check"]
ENTRYPOINT ["python3", "/opt/edge/edge.py"]

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --uid 10001 --no-create-home latentwire
COPY --from=environment /opt/latentwire /opt/latentwire
COPY service /opt/latentwire/programs/service
ENV PATH=/opt/latentwire/bin:$PATH \
    PYTHONPATH=/opt/latentwire/programs \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTWIRE_HOST=0.0.0.0 \
    LATENTWIRE_PORT=8000 \
    LATENTWIRE_LOG_FORMAT=json \
    LATENTWIRE_MODELS_DIR=/models
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python3", "-m", "service.healthcheck"]
ENTRYPOINT ["python3", "-m", "service"]

FROM base AS sender
ENV LATENTWIRE_ROLE=sender
COPY --from=models /sender /models

FROM base AS receiver
ENV LATENTWIRE_ROLE=receiver
COPY --from=models /receiver /models

FROM base AS service
ENV LATENTWIRE_ROLE=both
COPY --from=models /both /models
