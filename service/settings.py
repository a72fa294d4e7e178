"""Everything that an operator can set, as one frozen object.

Environment variables named `LATENTWIRE_*` and command-line flags become a `Settings`. Importing this module reads
neither. The descriptions are the text of `--help` and of docs/SETTINGS.md.
"""

import difflib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from latentwire.cpus import usable_cpus
from latentwire.imaging.formats import DEFAULT_FORMATS, FORMATS, parse_formats
from latentwire.imaging.reader import DEFAULT_MAX_PIXELS, AnySizeReader, ImageReader
from latentwire.model.card import ImageShape
from latentwire.options import Background, Fit, OnOod
from service.errors import StartupRefused

_log = logging.getLogger(__name__)

Role = Literal["both", "sender", "receiver"]
LogFormat = Literal["text", "json"]
# Empty, they would silently turn off what they turn on.
_PROTECTING = {f"LATENTWIRE_{name}" for name in ("API_KEYS", "API_KEYS_FILE", "TLS_CERTIFICATE", "TLS_KEY")}
# Variables of the edge and of training, and those that Kubernetes sets for services whose names begin with latentwire.
_OTHER_VARIABLES = re.compile(r"EDGE_.*|DATA|(.*_)?SERVICE_(HOST|PORT).*|(.*_)?PORT(_\d+_(TCP|UDP|SCTP).*)?")
# As browsers send it: in lower case, without a path and without the scheme's own port.
_ORIGIN = re.compile(r"(?!http:.*:80$|https:.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
Seconds = Annotated[int, Field(ge=1, le=3600)]


def _cpus_per_worker(validated: dict[str, Any]) -> int:
    # `workers` is missing if it was not valid.
    workers: int = validated.get("workers", 1)
    return max(1, usable_cpus() // workers)


def _default_max_concurrency(validated: dict[str, Any]) -> int:
    # At least 2, so that one body is read or picture written while another graph runs; each costs its image's memory.
    return min(8, max(2, _cpus_per_worker(validated)))


class Settings(BaseSettings):
    """Latentwire's HTTP service: images to codes of a few bytes, and back.

    Flag --port is also LATENTWIRE_PORT, and so on. `--version` alone prints the version.
    """

    model_config = SettingsConfigDict(
        env_prefix="LATENTWIRE_",
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
    )

    # Models
    role: Role = Field("both", description="a sender only encodes, a receiver only decodes")
    models_dir: Path = Field(Path("models"), description="folder that holds one folder per model")
    default_model: str | None = Field(
        None, description="model for requests that name none; by default the one in default-model.txt, or the only one"
    )
    strict_models: bool = Field(
        False,
        description="do not start, and do not be ready, while any model cannot be used; else only the default counts",
    )
    require_signed_models: bool = Field(
        False, description="use no model without a signature by one of the keys in --model-keys-file"
    )
    model_keys_file: Path | None = Field(
        None,
        description="PEM file of Ed25519 public keys; a model whose signature (card.json.sig) is by none of them "
        "is not used",
    )
    verify_reconstruction: bool | None = Field(
        None, description="decode each code after encoding, to know the reconstruction; by default only in role both"
    )
    on_ood: OnOod = Field(
        "fallback",
        description="what to do with an out-of-distribution image: refuse it, warn and send its code anyway, or "
        "fall back to sending it losslessly",
    )

    # Network
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 means every IPv4 address of this host")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free port")
    max_connections: int = Field(
        1000,
        ge=1,
        le=1 << 20,
        description="maximum connections of a worker; a further one replaces the longest idle one",
    )
    max_header_bytes: int = Field(
        32 << 10, ge=1, le=1 << 20, description="maximum size of the request line and all headers together"
    )
    max_headers: int = Field(100, ge=1, le=10_000, description="maximum number of headers of a request")
    header_timeout_s: Seconds = Field(10, description="time from a request's first byte to the end of its headers")
    keep_alive_timeout_s: Seconds = Field(75, description="time after which a connection without a request is closed")
    io_idle_timeout_s: Seconds = Field(30, description="maximum pause while a body arrives or a response is sent")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain; turns HTTPS on")
    tls_key: Path | None = Field(
        None, description="PEM file of the certificate's key; optional if the certificate's file holds the key"
    )

    page: bool = Field(True, description="show a page at / that draws, encodes and compares; it uses /compare")

    # Single requests
    max_body_bytes: int = Field(10 << 20, ge=1, le=1 << 30, description="maximum size of a request body")
    max_image_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, le=1 << 28, description="maximum pixels of an image file")
    image_formats: str = Field(
        ",".join(DEFAULT_FORMATS), description=f"formats of image files that are read, of {', '.join(FORMATS)}"
    )
    body_timeout_s: Seconds = Field(60, description="time to receive a whole request body")
    max_queue_size: int = Field(64, ge=0, le=65536, description="maximum number of waiting requests; more get 429")
    queue_timeout_s: Seconds = Field(10, description="maximum time in the queue; then the request gets 429")
    max_buffered_body_bytes: int = Field(
        128 << 20,
        ge=1,
        le=1 << 40,
        description="maximum total size of the request bodies that a worker buffers (arriving, queued and running); "
        "further requests get 429, as do those of a client that has half of it. A single request is always accepted",
    )

    # Batches
    max_concurrent_batches: int = Field(
        4, ge=1, le=256, description="maximum number of batches that run at once; further batches get 429"
    )
    max_batch_images: int = Field(100_000, ge=1, le=(1 << 32) - 1, description="maximum number of images of a batch")
    max_batch_bytes: int = Field(1 << 30, ge=1, le=1 << 40, description="maximum size of a batch's body")
    batch_timeout_s: int = Field(3600, ge=1, le=1 << 20, description="time to receive a batch and send its response")

    # Processors
    workers: int = Field(1, ge=0, le=256, description="number of worker processes; 0 starts one per usable processor")
    max_concurrency: int = Field(
        default_factory=_default_max_concurrency,
        ge=1,
        le=256,
        description="requests that a worker runs at once; by default its share of the processors, from 2 to 8",
    )
    intra_op_threads: int = Field(
        1,
        ge=0,
        le=256,
        description="threads that a graph uses for one request; 0 divides the processors among the workers",
    )

    # Access
    api_keys_file: Path | None = Field(
        None, description="file of the API keys, read again when it changes; without keys every route is open"
    )
    api_keys: SecretStr | None = Field(
        None, description="the API keys themselves; set them by the variable, other users of the host can read flags"
    )
    metrics_without_auth: bool = Field(False, description="answer /metrics without a key")
    cors_origins: str | None = Field(
        None, description="origins, separated by commas, whose pages may use the service; by default no other's may"
    )

    # Operation
    drain_period_s: int = Field(
        1, ge=0, le=3600, description="time after SIGTERM in which connections are accepted while /readyz answers 503"
    )
    graceful_shutdown_timeout_s: Seconds = Field(8, description="time after SIGTERM until the process ends in any case")
    access_log: bool = Field(True, description="log one line per request to standard output")
    log_format: LogFormat = Field("text", description="lines for people, or one JSON object per line for programs")

    @field_validator("image_formats")
    @classmethod
    def _check_formats(cls, formats: str) -> str:
        return ",".join(parse_formats(formats))

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: str | None) -> str | None:
        for origin in origins.split(",") if origins else ():
            if origin == "*":
                raise ValueError("'*' would let every page on the web use the service; name the origins")
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is not an origin as browsers send it, such as https://a.example:8443")
        return origins

    @field_validator("workers")
    @classmethod
    def _resolve_workers(cls, workers: int) -> int:
        return workers or usable_cpus()

    @field_validator("intra_op_threads")
    @classmethod
    def _resolve_threads(cls, threads: int, info: ValidationInfo) -> int:
        return threads or _cpus_per_worker(info.data)

    @property
    def requires_keys(self) -> bool:
        """Whether clients must send an API key."""
        return self.api_keys is not None or self.api_keys_file is not None

    @property
    def encodes(self) -> bool:
        """Whether this role encodes."""
        return self.role != "receiver"

    @property
    def decodes(self) -> bool:
        """Whether this role decodes for clients."""
        return self.role != "sender"

    @property
    def verifies(self) -> bool:
        """Whether this process decodes each code after encoding, and so knows the reconstruction."""
        return self.encodes and (self.decodes if self.verify_reconstruction is None else self.verify_reconstruction)

    def image_reader(self, shape: ImageShape, fit: Fit, background: Background) -> ImageReader:
        """Return a reader of images for a model, within the bounds of these settings."""
        return ImageReader(shape, fit, background, self.max_image_pixels, parse_formats(self.image_formats))

    def any_size_reader(self, background: Background) -> AnySizeReader:
        """Return a reader of images of any size, within the bounds of these settings."""
        return AnySizeReader(background, self.max_image_pixels, parse_formats(self.image_formats))


def read_settings(arguments: Sequence[str]) -> Settings:
    """Return the settings: flags come before environment variables, and those before the defaults.

    Args:
        arguments: command line without the program's name.

    Raises:
        StartupRefused: an unknown flag, or a value out of range or of the wrong type.
        SystemExit: with code 0, after `--help` has printed its text.
    """
    for sentence in _misspelt_variables():
        _log.warning(sentence)
    # An empty variable counts as not set, as compose makes one of each that its file names and nobody has set.
    for name, value in os.environ.items():
        if not value and name.upper() in _PROTECTING:
            raise StartupRefused(f"{name} is empty; unset it, or give it a value")
    try:
        return Settings(_cli_parse_args=list(arguments), **_port_of_platform())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StartupRefused(f"the setting {name} is not valid: {first['msg']}") from error
    except SettingsError as error:
        raise StartupRefused(f"the command line is not valid: {' '.join(str(error).split())}") from error


def _port_of_platform() -> dict[str, Any]:
    """Return the port in PORT, as hosting platforms give it, unless LATENTWIRE_PORT has one."""
    port = os.environ.get("LATENTWIRE_PORT", "")
    # Kubernetes sets this variable for a service named latentwire.
    if port.startswith("tcp://"):
        _log.warning(
            "LATENTWIRE_PORT is '%s', as Kubernetes sets it for a service of that name, and is ignored; "
            "give the port as --port, or set enableServiceLinks to false",
            port,
        )
    elif port:
        return {}
    return {"port": os.environ.get("PORT") or Settings.model_fields["port"].default}


def _misspelt_variables() -> list[str]:
    """Return a sentence for each variable that looks like a setting and is none."""
    known = [name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(os.environ):
        prefix, _, rest = name.upper().partition("_")
        if prefix == "LATENTWIRE" and rest not in known and not _OTHER_VARIABLES.fullmatch(rest):
            close = difflib.get_close_matches(rest, known, n=1)
            sentences.append(f"{name} is not a setting" + (f"; did you mean LATENTWIRE_{close[0]}?" if close else ""))
    return sentences
