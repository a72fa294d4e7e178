"""The options of requests and of clients."""

import sys
from collections.abc import Mapping
from typing import NamedTuple, TypedDict

from latentwire.effort import Effort
from latentwire.options import Background, Fit, OnOod, Verify


class EncodeOptions(TypedDict, total=False):
    """The options of `encode` and `encode_many`: the query parameters of `/encode`, under the same names.

    Attributes:
        model: name of the model; by default the service chooses it.
        fit: what to do with an image of another size or colour mode than the model's: refuse it (`strict`), scale it
            (`resize`), or keep its proportions and pad it (`pad`).
        background: what shows through transparent pixels: `white`, `black`, or the one that differs more from the
            visible pixels (`auto`).
        on_ood: what to do with an out-of-distribution image: refuse it (`refuse`), encode it all the same (`warn`), or
            encode it losslessly (`fallback`).
        max_mse: limit of the mean squared error, from 0 to 1, in place of the model's.
        quality: of a model for images of any size: from 0, the fewest bytes, to 100.
        target_bytes: the best picture whose bitstream has at most this many bytes.
        min_psnr: the smallest bitstream whose picture has at least this PSNR in dB.
        effort: of a model for images of any size: 1, or 2 and 3 for fewer bytes at the same PSNR, which takes longer;
            by default 2 for images of at most 65,536 pixels, 1 for larger ones.

    An option that is None counts as not given. The service checks the values.
    """

    model: str | None
    fit: Fit | None
    background: Background | None
    on_ood: OnOod | None
    max_mse: float | None
    quality: float | None
    target_bytes: int | None
    min_psnr: float | None
    effort: Effort | None


class ContainerOptions(TypedDict, total=False):
    """The options of `encode_container`: the query parameters of `/encode/batch`, under the same names.

    Attributes:
        model: name of the model; the default model by default.
        fit, background, on_ood: as in `EncodeOptions`.
        quality, target_bytes, min_psnr, effort: as in `EncodeOptions`; of each image, by a model for any size.
        verify: `latent`, or `reconstruction` to look at each image as a receiver will see it, which takes longer.
    """

    model: str | None
    fit: Fit | None
    background: Background | None
    on_ood: OnOod | None
    quality: float | None
    target_bytes: int | None
    min_psnr: float | None
    effort: Effort | None
    verify: Verify | None


class Timeouts(NamedTuple):
    """Longest time of each phase of a request, in seconds; None for no limit.

    Attributes:
        connect_s: to open a connection, TLS included.
        write_s: until the service takes the next bytes of the request.
        read_s: until the next bytes of the response come: the service's time for the image is part of it.
        pool_s: until a connection is free, where several threads or tasks share a client.
    """

    connect_s: float | None = 5
    write_s: float | None = 30
    read_s: float | None = 300
    pool_s: float | None = None


def query_of(
    options: EncodeOptions | ContainerOptions, kind: type[EncodeOptions | ContainerOptions] = EncodeOptions
) -> dict[str, str]:
    """Return the query parameters of the options that are given, which are of this kind.

    Raises:
        TypeError: an option does not exist.
    """
    unknown = options.keys() - kind.__annotations__.keys()
    if unknown:
        known = ", ".join(kind.__annotations__)
        raise TypeError(f"unknown option {', '.join(sorted(unknown))}; the options are {known}")
    return {name: str(value) for name, value in options.items() if value is not None}


def current_trace_context() -> Mapping[str, str]:
    """Return `traceparent` and `tracestate` of the current span, if the program traces itself with OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
