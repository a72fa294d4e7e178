"""Everything that an operator can set, as one frozen object.

Environment variables named `LATENTWIRE_*` and command-line flags enter; a `Settings` leaves. Nothing is read when this
module is imported. It knows neither models nor HTTP.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from latentwire.imaging.image import DEFAULT_MAX_PIXELS
from latentwire.options import OnOod
from service.cpus import processors
from service.errors import StartupRefused

_log = logging.getLogger(__name__)

Role = Literal["both", "sender", "receiver"]
LogFormat = Literal["text", "json"]


def _processors_of_one(read: dict[str, Any]) -> int:
    # `workers` is missing where it was not valid.
    workers: int = read.get("workers", 1)
    return max(1, processors() // workers)


def _default_max_running(read: dict[str, Any]) -> int:
    # Two, so that one body is read or picture written while another graph runs; each costs its image's memory.
    return min(8, max(2, _processors_of_one(read)))


class Settings(BaseSettings):
    """Images to codes of a few bytes, and back. Each flag is also a variable: --port is LATENTWIRE_PORT."""

    model_config = SettingsConfigDict(
        env_prefix="LATENTWIRE_",
        frozen=True,
        extra="forbid",
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
    )

    role: Role = Field("both", description="a sender only encodes, a receiver only decodes")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is every IPv4 address of this machine")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    models_dir: Path = Field(Path("models"), description="folder that holds one folder for each model")
    default_model: str | None = Field(
        None,
        description="model for requests that name none; may be left out if there is only one",
    )
    verify_reconstruction: bool | None = Field(
        None,
        description="decode what is encoded, to know what a receiver will see; without it, only the role both does",
    )
    on_ood: OnOod = Field(
        "fallback",
        description="what to do with an image that the model is not for: refuse it, warn and send its code all the "
        "same, or send it losslessly as a fallback",
    )
    workers: int = Field(
        1, ge=0, le=256, description="processes that answer on the port; 0 makes one for each processor it may use"
    )
    intra_op_threads: int = Field(
        1, ge=0, le=256, description="threads that one graph may use for one request; 0 shares out the processors"
    )
    max_concurrency: int = Field(
        default_factory=_default_max_running,
        ge=1,
        le=256,
        description="requests that a worker works on at the same time; unless set, its share of the processors, "
        "between 2 and 8",
    )
    max_queue_size: int = Field(
        64, ge=0, le=65536, description="requests that may wait for their turn; the next gets a 429"
    )
    max_body_bytes: int = Field(10 << 20, ge=1, le=1 << 30, description="longest request body")
    max_buffered_body_bytes: int = Field(
        128 << 20,
        ge=1,
        le=1 << 40,
        description="most bytes of all bodies of a worker together, of those that still come, wait and are worked on; "
        "the next gets a 429. One alone is always taken",
    )
    max_image_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1, le=1 << 28, description="most pixels of a sent image")
    max_concurrent_batches: int = Field(
        4, ge=1, le=256, description="batches that are worked on at the same time; none waits"
    )
    max_batch_images: int = Field(100_000, ge=1, le=(1 << 32) - 1, description="most images of one batch")
    max_batch_bytes: int = Field(1 << 30, ge=1, le=1 << 40, description="longest body of a batch")
    max_connections: int = Field(
        1000,
        ge=1,
        le=1 << 20,
        description="connections of a worker; the next takes the place of the one that has waited longest for a "
        "request",
    )
    max_header_bytes: int = Field(
        32 << 10, ge=1, le=1 << 20, description="longest head of a request: its line and all its headers"
    )
    max_headers: int = Field(100, ge=1, le=10_000, description="most headers of a request")
    header_timeout_s: int = Field(
        10, ge=1, le=3600, description="time in which the head of a request must have come, from its first byte on"
    )
    keep_alive_timeout_s: int = Field(
        75, ge=1, le=3600, description="time that a connection is kept open without a request"
    )
    io_idle_timeout_s: int = Field(
        30, ge=1, le=3600, description="time that a client may take to send or to read the next bytes"
    )
    min_data_rate_bytes_per_s: int = Field(
        250,
        ge=0,
        le=1 << 30,
        description="least rate at which a client sends a batch, or takes an answer: the average of twice the stall "
        "timeout, of the time in which nothing but the client is waited for; 0 asks for none",
    )
    body_timeout_s: int = Field(
        60,
        ge=1,
        le=3600,
        description="time in which the whole body of a single image or code must have come; for as long, what "
        "comes of one after its answer is thrown away",
    )
    batch_timeout_s: int = Field(
        3600, ge=1, le=1 << 20, description="time in which a batch must have come, and its answer must have been taken"
    )
    queue_timeout_s: int = Field(
        10, ge=1, le=3600, description="time that a request may wait for its turn; then it gets a 429"
    )
    api_keys_file: Path | None = Field(
        None, description="file of the keys that open the routes, read again when it changes; without keys all is open"
    )
    api_keys: SecretStr | None = Field(
        None, description="the keys themselves; give them as a variable, for others on this machine can read flags"
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and those between it and the root; with it, HTTPS is spoken"
    )
    tls_key: Path | None = Field(
        None, description="PEM file of the certificate's key; may be left out if the certificate's file holds it"
    )
    metrics_without_auth: bool = Field(False, description="where keys are asked for, answer /metrics without one")
    drain_period_s: int = Field(
        1,
        ge=0,
        le=3600,
        description="when told to stop, time in which connections are still accepted while /readyz says 503",
    )
    graceful_shutdown_timeout_s: int = Field(
        8, ge=1, le=3600, description="time in which the process ends when told to stop, whatever runs"
    )
    access_log: bool = Field(True, description="one line on standard output for each request")
    log_format: LogFormat = Field("text", description="lines for people, or each line a JSON object for programs")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment with care; pydantic puts the command line before it."""
        return init_settings, _Variables(settings_cls)

    @field_validator("workers")
    @classmethod
    def _one_for_each_processor(cls, workers: int) -> int:
        return workers or processors()

    @field_validator("intra_op_threads")
    @classmethod
    def _share_of_the_processors(cls, threads: int, info: ValidationInfo) -> int:
        return threads or _processors_of_one(info.data)

    @property
    def asks_for_keys(self) -> bool:
        """Whether the routes take keys."""
        return self.api_keys is not None or self.api_keys_file is not None

    @property
    def encodes(self) -> bool:
        """Whether this role has the sender's half."""
        return self.role != "receiver"

    @property
    def decodes(self) -> bool:
        """Whether this role has the receiver's half."""
        return self.role != "sender"

    @property
    def decodes_to_guard(self) -> bool:
        """Whether each image that is encoded is decoded, too."""
        return self.encodes and (self.decodes if self.verify_reconstruction is None else self.verify_reconstruction)


class _Variables(EnvSettingsSource):
    """The environment, without what Kubernetes puts there for a service that is named latentwire."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        if str(values.get("port", "")).startswith("tcp://"):
            _log.warning(
                "LATENTWIRE_PORT is '%s', as Kubernetes sets it for a service of that name, and is not used; "
                "give the port as --port, or set enableServiceLinks to false",
                values.pop("port"),
            )
        return values


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings from flags, then from the environment, then from the defaults.

    Args:
        arguments: of the command line, without the program's name.

    Raises:
        StartupRefused: an unknown flag, or a value that is out of range or of the wrong kind.
        SystemExit: with code 0, after `--help` has printed its text.
    """
    try:
        return Settings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StartupRefused(f"the setting {name} is not valid: {first['msg']}") from error
    except SettingsError as error:
        raise StartupRefused(f"the command line is not valid: {' '.join(str(error).split())}") from error
