"""`AsyncClient`: carries out exchanges in an asyncio event loop."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
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
Item = TypeVar("Item")


class AsyncClient(ClientBase):
    """A client of a Latentwire service for asyncio. Its arguments are those of `ClientBase`.

    Use it in an `async with` block, or `aclose` it. Any number of tasks of one event loop may use it. Its methods are
    those of `Client`.
    """

    def _open(self, options: dict[str, Any]) -> None:
        self._http = httpx.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def encode(self, source: ImageSource, **options: Unpack[EncodeOptions]) -> Encoded:
        """Encode one image; see `Client.encode`."""
        return await self._run(self._protocol.encode(source, options))

    async def decode(self, source: BitstreamSource, *, partial: bool = False) -> Image:
        """Decode one bitstream; see `Client.decode`."""
        return await self._run(self._protocol.decode(source, as_far_as_whole=partial))

    def encode_many(
        self, sources: Iterable[ImageSource] | AsyncIterable[ImageSource], **options: Unpack[EncodeOptions]
    ) -> AsyncIterator[Encoded]:
        """Encode any number of images; see `Client.encode_many`."""
        streams.check_sources(sources)
        return self._stream(sources, streams.encode_many(self._protocol, options, self._concurrency))

    def decode_many(self, sources: Iterable[BitstreamSource] | AsyncIterable[BitstreamSource]) -> AsyncIterator[Image]:
        """Decode any number of bitstreams; see `Client.decode_many`."""
        streams.check_sources(sources)
        return self._stream(sources, streams.decode_many(self._protocol, self._concurrency))

    async def encode_container(
        self, sources: Iterable[ImageSource], **options: Unpack[ContainerOptions]
    ) -> EncodedMany:
        """Encode images into one container; see `Client.encode_container`. They are read in another thread."""
        streams.check_sources(sources)
        return await self._run(self._protocol.encode_container(sources, options))

    async def decode_container(self, source: ContainerSource) -> list[Image]:
        """Decode all images of a container; see `Client.decode_container`."""
        return await self._run(self._protocol.decode_container(source))

    async def models(self) -> tuple[ModelSummary, ...]:
        """List the models of the sender."""
        return await self._run(self._protocol.models())

    async def ready(self) -> bool:
        """Ask whether sender and receiver are ready to serve; see `Client.ready`."""
        return await self._run(self._protocol.ready())

    async def _run(self, exchange: Exchange[Result]) -> Result:
        try:
            step = next(exchange)
            while True:
                try:
                    done = await self._do(step)
                except Exception as error:
                    step = exchange.throw(error)
                else:
                    step = exchange.send(done)
        except StopIteration as end:
            return cast(Result, end.value)

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.run)
        try:
            return await self._http.send(step)
        except httpx.TransportError as error:
            raise transport_error(error, step) from error

    async def _stream(self, sources: Iterable[Any] | AsyncIterable[Any], stream: streams.Stream) -> AsyncIterator[Any]:
        iterator = aiter(sources) if isinstance(sources, AsyncIterable) else _iterate(sources)
        tasks: set[asyncio.Task[Any]] = set()

        def forget(task: asyncio.Task[Any]) -> None:
            tasks.discard(task)
            if not task.cancelled():
                task.exception()  # asyncio complains of an error that nobody has looked at

        try:
            step = next(stream)
            while True:
                done: Any = None
                try:
                    if isinstance(step, streams.Emit):
                        yield step.result
                    elif isinstance(step, streams.Pull):
                        done = await anext(iterator, streams.END)
                    elif isinstance(step, streams.Start):
                        done = asyncio.create_task(self._run(step.exchange))
                        tasks.add(done)
                        done.add_done_callback(forget)
                    elif isinstance(step, streams.Wait):
                        await asyncio.wait(cast(Any, step.futures), return_when=asyncio.FIRST_COMPLETED)
                    else:
                        done = await asyncio.to_thread(step.run)
                except Exception as error:
                    step = stream.throw(error)
                else:
                    step = stream.send(done)
        except StopIteration:
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _iterate(items: Iterable[Item]) -> AsyncIterator[Item]:
    for item in items:
        yield item
