"""URLs in, pictures out: the client's loop with decode threads beside it, and a bound on the bytes between them.

The client runs in the calling thread; decoding and resizing run in a small pool (they release the GIL). Bodies that
wait for a decoder are counted in bytes; when there are too many, no new transfer starts, so a burst of large pictures
cannot fill the memory.
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
from curate.stage import Runtime

__all__ = ["Boxes", "crawl"]

MOST_WAITING_BYTES = 48 << 20
MOST_WAITING = 64

Boxes = Mapping[int, Sequence[Sequence[float]]]
"""Row to boxes that are to be blurred."""


@lru_cache(maxsize=4)
def _client(settings: FetchSettings, addresses: tuple[tuple[str, str], ...]) -> Client:
    """One client per process and settings: connections, DNS and robots.txt answers outlive a shard."""
    return Client(settings, dict(addresses))


def crawl(
    urls: Iterable[tuple[int, str]],
    settings: FetchSettings,
    image: ImageSettings,
    boxes: Boxes,
    runtime: Runtime,
) -> Iterator[tuple[Response, Picture | None]]:
    """Every (row, url) once, in the order in which they finish; the response comes without its body."""
    client = _client(settings.shared_among(runtime.workers), tuple(sorted(runtime.addresses.items())))
    waiting: dict[Future[Picture], Response] = {}
    decoded: SimpleQueue[Future[Picture]] = SimpleQueue()
    held = 0

    def room() -> bool:
        return held < MOST_WAITING_BYTES and len(waiting) < MOST_WAITING

    with ThreadPoolExecutor(runtime.threads, thread_name_prefix="decode") as pool:
        for response in client.fetch(urls, room):
            if response is not None and response.body:
                job = pool.submit(process, response.body, image, boxes.get(response.row, ()))
                waiting[job] = response
                held += len(response.body)
                job.add_done_callback(decoded.put)
            elif response is not None:
                yield response, None
            while not decoded.empty():
                job = decoded.get()
                done = waiting.pop(job)
                held -= len(done.body)
                yield replace(done, body=b""), job.result()
        while waiting:
            job = decoded.get()
            yield replace(waiting.pop(job), body=b""), job.result()
