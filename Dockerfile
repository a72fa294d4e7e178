# Three images from one file: `--target sender`, `receiver` or `service` (both halves; the default).
# None holds torch, a compiler or training code; a sender has no decoder.onnx, a receiver no encoder.onnx.

FROM python:3.11-slim-bookworm AS environment
WORKDIR /build
RUN python3 -m venv --without-pip /opt/latentwire
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Dependencies have a layer of their own, so that a change of code installs nothing anew.
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print('\n'.join(p['dependencies'] + p['optional-dependencies']['tracing']))" \
      > requirements.txt \
 && pip --python /opt/latentwire/bin/python3 install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY latentwire latentwire
COPY service service
RUN pip --python /opt/latentwire/bin/python3 install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm AS models
COPY models /both
RUN cp -r /both /sender && find /sender -name decoder.onnx -delete \
 && cp -r /both /receiver && find /receiver -name encoder.onnx -delete

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --uid 10001 --no-create-home latentwire
COPY --from=environment /opt/latentwire /opt/latentwire
ENV PATH=/opt/latentwire/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTWIRE_HOST=0.0.0.0 \
    LATENTWIRE_PORT=8000 \
    LATENTWIRE_LOG_FORMAT=json \
    LATENTWIRE_MODELS_DIR=/models \
    LATENTWIRE_DEFAULT_MODEL=mnist-conv-10
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
