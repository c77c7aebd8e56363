"""URLs in, pictures out: the client's loop with decode threads beside it, and a bound on the bytes between them.

The client runs in the calling thread; decoding and resizing run in a small pool (they release the GIL). Bodies that
wait for a decoder are counted in bytes; when there are too many, no new transfer starts, and large ones under way pause
(`budget.py`), so a burst of large pictures cannot fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from queue import SimpleQueue

from curate.fetch.client import Client, Response
from curate.fetch.image import process
from curate.fetch.picture import ImageSettings, Picture
from curate.fetch.settings import FetchSettings
from curate.fetch.wanted import PICTURES, Wanted
from curate.stage import Runtime

__all__ = ["Boxes", "crawl", "shared_client"]

MOST_WAITING_BYTES = 48 << 20
MOST_WAITING = 64

Boxes = Mapping[int, Sequence[Sequence[float]]]
"""Row to boxes that are to be blurred."""


def shared_client(settings: FetchSettings, runtime: Runtime, wanted: Wanted = PICTURES) -> Client:
    """One client per process and settings: connections, DNS and robots.txt answers outlive a shard."""
    return _client(settings.shared_among(runtime.workers), tuple(sorted(runtime.addresses.items())), wanted)


@lru_cache(maxsize=4)
def _client(settings: FetchSettings, addresses: tuple[tuple[str, str], ...], wanted: Wanted) -> Client:
    return Client(settings, dict(addresses), wanted=wanted)


class _Decoders:
    """Bodies on their way through the decode threads, bounded in number and in bytes."""

    def __init__(self, pool: ThreadPoolExecutor, image: ImageSettings, boxes: Boxes) -> None:
        self._pool, self._image, self._boxes = pool, image, boxes
        self._waiting: dict[Future[Picture], Response] = {}
        self._ended: SimpleQueue[Future[Picture]] = SimpleQueue()
        self._held_bytes = 0

    def room(self) -> bool:
        return self._held_bytes < MOST_WAITING_BYTES and len(self._waiting) < MOST_WAITING

    def take(self, response: Response) -> None:
        job = self._pool.submit(process, response.body, self._image, self._boxes.get(response.row, ()))
        self._waiting[job] = response
        self._held_bytes += len(response.body)
        job.add_done_callback(self._ended.put)

    def done(self, last: bool = False) -> Iterator[tuple[Response, Picture]]:
        """What is decoded by now, or with `last` all that is still waiting."""
        while self._waiting if last else not self._ended.empty():
            job = self._ended.get()
            response = self._waiting.pop(job)
            self._held_bytes -= len(response.body)
            yield replace(response, body=b""), job.result()


def crawl(
    urls: Iterable[tuple[int, str]],
    settings: FetchSettings,
    image: ImageSettings,
    boxes: Boxes,
    runtime: Runtime,
) -> Iterator[tuple[Response, Picture | None]]:
    """Every (row, url) once, in the order in which they finish; the response comes without its body."""
    client = shared_client(settings, runtime)
    with ThreadPoolExecutor(runtime.threads, thread_name_prefix="decode") as pool:
        decoders = _Decoders(pool, image, boxes)
        for response in client.fetch(urls, decoders.room):
            if response is not None and response.body:
                decoders.take(response)
            elif response is not None:
                yield response, None
            yield from decoders.done()
        yield from decoders.done(last=True)
