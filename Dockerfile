# Four images from one file: `--target sender`, `receiver`, `service` (both halves; the default) or `edge`.
# None holds torch, a compiler or training code; a sender has no decoder.onnx, a receiver no encoder.onnx. The edge holds
# nginx and no part of the service.

# The same revision and base image give the same files: hashes pin what pip installs, and no file holds a time. A digest
# (python:3.11-slim-bookworm@sha256:…) pins the base image; the default is its tag, so that a build needs no registry that
# still has an old digest, and gets Debian's security updates.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS tools
WORKDIR /build
COPY deploy/build-requirements.txt ./
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement build-requirements.txt

FROM tools AS environment
# Dependencies have a layer of their own, so that a change of code installs nothing anew.
COPY deploy/requirements.txt ./
RUN python3 -m venv --without-pip /opt/latentwire \
 && /opt/tools/bin/pip --python /opt/latentwire/bin/python3 install --no-cache-dir --no-compile \
      --require-hashes --only-binary :all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY latentwire latentwire
RUN /opt/tools/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir dist . \
 && /opt/tools/bin/pip --python /opt/latentwire/bin/python3 install --no-cache-dir --no-compile \
      --no-deps --no-index --find-links dist latentwire
COPY service /opt/latentwire/programs/service
COPY deploy/healthcheck.py /opt/latentwire/programs/
# Compiled files that hold no time, and are taken without a look at their sources, which nobody can change.
RUN PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash /opt/latentwire

FROM ${BASE_IMAGE} AS models
COPY models /both
RUN cp -r /both /sender && find /sender -name decoder.onnx -delete \
 && cp -r /both /receiver && find /receiver -name encoder.onnx -delete

FROM environment AS service-bills
ARG BASE_IMAGE
COPY deploy/sbom.py ./
COPY --from=models /both /both
COPY --from=models /sender /sender
COPY --from=models /receiver /receiver
RUN mkdir /bills \
 && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file base.json "$(command -v python3)" \
 && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file own.json /opt/latentwire/bin/python3 \
 && for target in service:both sender:sender receiver:receiver; do \
      image=latentwire-${target%:*}; \
      /opt/tools/bin/python3 sbom.py "$image" --base-image "$BASE_IMAGE" --python own.json base.json \
        --models "/${target#*:}" > "/bills/$image.cdx.json" || exit 1; \
    done

FROM ${BASE_IMAGE} AS nginx
# The date of a user's password is the epoch's second day, not today.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nginx-light \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache \
      /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
 && SOURCE_DATE_EPOCH=86400 useradd --system --uid 10001 --no-create-home latentwire

FROM tools AS edge-bill
ARG BASE_IMAGE
COPY deploy/sbom.py ./
COPY --from=nginx /var/lib/dpkg/status dpkg-status
RUN mkdir /bills \
 && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file base.json "$(command -v python3)" \
 && /opt/tools/bin/python3 sbom.py latentwire-edge --base-image "$BASE_IMAGE" --python base.json \
      --dpkg-status dpkg-status > /bills/latentwire-edge.cdx.json

FROM nginx AS edge
COPY --from=edge-bill /bills /usr/share/sbom
COPY deploy/edge.py deploy/nginx.conf.template /opt/edge/
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTWIRE_EDGE_UPSTREAMS=latentwire:8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python3", "/opt/edge/edge.py", "check"]
ENTRYPOINT ["python3", "/opt/edge/edge.py"]

FROM ${BASE_IMAGE} AS base
RUN SOURCE_DATE_EPOCH=86400 useradd --system --uid 10001 --no-create-home latentwire
COPY --from=environment /opt/latentwire /opt/latentwire
ENV PATH=/opt/latentwire/bin:$PATH \
    PYTHONPATH=/opt/latentwire/programs \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LATENTWIRE_HOST=0.0.0.0 \
    LATENTWIRE_LOG_FORMAT=json \
    LATENTWIRE_MODELS_DIR=/models
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python3", "-m", "healthcheck"]
ENTRYPOINT ["python3", "-m", "service"]

FROM base AS sender
ENV LATENTWIRE_ROLE=sender
COPY --from=models /sender /models
COPY --from=service-bills /bills/latentwire-sender.cdx.json /usr/share/sbom/

FROM base AS receiver
ENV LATENTWIRE_ROLE=receiver
COPY --from=models /receiver /models
COPY --from=service-bills /bills/latentwire-receiver.cdx.json /usr/share/sbom/

FROM base AS service
ENV LATENTWIRE_ROLE=both
COPY --from=models /both /models
COPY --from=service-bills /bills/latentwire-service.cdx.json /usr/share/sbom/
