"""`Client`: carries out exchanges with blocking calls, several at one time in threads."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, Self, TypeVar, Unpack, cast

import httpx

from latentwire.client import streams
from latentwire.client.base import ClientBase
from latentwire.client.errors import transport_error
from latentwire.client.exchanges import Exchange, Pause, Step, Work
from latentwire.client.options import ContainerOptions, EncodeOptions
from latentwire.client.results import Encoded, EncodedMany, Image, ModelSummary
from latentwire.client.sources import BitstreamSource, ContainerSource, ImageSource

Result = TypeVar("Result")


class Client(ClientBase):
    """A client of a Latentwire service. Its arguments are those of `ClientBase`.

    Use it in a `with` block, or `close` it. Several threads may use one client.
    """

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.Client(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def encode(self, source: ImageSource, **options: Unpack[EncodeOptions]) -> Encoded:
        """Encode one image.

        Args:
            source: path or bytes of an image file, uint8 array (H, W) or (H, W, C), or Pillow image.
            options: see `EncodeOptions`.

        Raises:
            OSError: the file cannot be read.
            ImageError: the service cannot encode the image; OutOfDistribution, ImageMismatch, InvalidImage and others.
            ServiceError: the service does not take or answer the request; Unauthenticated, Overloaded,
                ConnectionFailed and others.
            ModelError: no model has this name, or its files cannot be used.
        """
        return self._run(self._protocol.encode(source, options))

    def decode(self, source: BitstreamSource, *, partial: bool = False) -> Image:
        """Decode one bitstream.

        Args:
            source: a bitstream, the path of a file with one, or what `encode` has returned.
            partial: of an image of any size whose bitstream is cut short or damaged, decode what is whole; the result
                says what is missing.

        Raises:
            OSError: the file cannot be read.
            CodeError: the bitstream cannot be decoded; InvalidCode, ModelMismatch and others.
            ServiceError: as `encode`.
        """
        return self._run(self._protocol.decode(source, as_far_as_whole=partial))

    def encode_many(self, sources: Iterable[ImageSource], **options: Unpack[EncodeOptions]) -> Iterator[Encoded]:
        """Encode any number of images; yield their results in order, each as `encode` returns it.

        Several requests are under way at one time. Small images travel in batches where that gives the same results.
        The sources are read as results are taken, so they may be more than memory holds.

        Raises:
            CodecError: as `encode`, in the place of the image's result; its notes tell the index. Nothing follows.
        """
        streams.check_sources(sources)
        return self._stream(sources, streams.encode_many(self._protocol, options, self._concurrency))

    def decode_many(self, sources: Iterable[BitstreamSource]) -> Iterator[Image]:
        """Decode any number of bitstreams; yield their images in order. See `decode` and `encode_many`."""
        streams.check_sources(sources)
        return self._stream(sources, streams.decode_many(self._protocol, self._concurrency))

    def encode_container(self, sources: Iterable[ImageSource], **options: Unpack[ContainerOptions]) -> EncodedMany:
        """Encode images into one container, in less time and fewer bytes than as single bitstreams.

        Args:
            sources: as in `encode`; all are in memory at one time.
            options: see `ContainerOptions`.

        Raises:
            ValueError: there is no image.
            CodecError: as `encode`; the service refuses all images for the fault of one.
        """
        streams.check_sources(sources)
        return self._run(self._protocol.encode_container(sources, options))

    def decode_container(self, source: ContainerSource) -> list[Image]:
        """Decode all images of a container, in their order.

        Args:
            source: a container, the path of a file with one, or what `encode_container` has returned.

        Raises:
            CodecError: as `decode`; DamagedChunk if a part of the container is damaged.
        """
        return self._run(self._protocol.decode_container(source))

    def models(self) -> tuple[ModelSummary, ...]:
        """List the models of the sender."""
        return self._run(self._protocol.models())

    def ready(self) -> bool:
        """Ask whether sender and receiver are ready to serve; False also if one of them cannot be reached."""
        return self._run(self._protocol.ready())

    def _run(self, exchange: Exchange[Result]) -> Result:
        try:
            step = next(exchange)
            while True:
                try:
                    done = self._do(step)
                except Exception as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(done)
        except StopIteration as end:
            return cast(Result, end.value)

    def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Work):
            return step.run()
        try:
            return self._http.send(step)
        except httpx.TransportError as error:
            raise transport_error(error, step) from error

    def _stream(self, sources: Iterable[Any], stream: streams.Stream) -> Iterator[Any]:
        iterator = iter(sources)
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="latentwire-client")
        try:
            step = next(stream)
            while True:
                done: Any = None
                try:
                    if isinstance(step, streams.Emit):
                        yield step.result
                    elif isinstance(step, streams.Pull):
                        done = next(iterator, streams.END)
                    elif isinstance(step, streams.Start):
                        # The thread sees the caller's current span.
                        done = pool.submit(copy_context().run, self._run, step.exchange)
                    elif isinstance(step, streams.Wait):
                        wait(cast(Any, step.futures), return_when=FIRST_COMPLETED)
                    else:
                        done = step.run()
                except Exception as error:
                    step = stream.throw(error)
                else:
                    step = stream.send(done)
        except StopIteration:
            return
        finally:
            pool.shutdown(cancel_futures=True)
