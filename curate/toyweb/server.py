"""A web server on the loopback that serves a plan, faults and all, from a thread of the calling process.

asyncio streams and a small HTTP/1.1 of our own, because the point is to send what no proper server would: half a body,
one byte at a time, bytes without end. It binds 127.0.0.1 and a free port; which host is meant is read from the `Host`
header, so a client maps every host name to this one address. 600 rows asked for one after another over one connection,
pictures made on demand, take 1.4 s of one core, client included.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from curate.toyweb.answers import Reply, Site
from curate.toyweb.plan import Plan

__all__ = ["ENDLESS_BYTES", "TRICKLE_S", "serve"]

TRICKLE_S = 0.2
"""Seconds between two bytes of a trickling body."""

ENDLESS_BYTES = 256 << 20
"""Where the never-ending body ends after all, so that a client without a limit fills no memory for ever."""

_HEAD_BYTES = 16 << 10
_IDLE_S = 60
_CHUNK = bytes(64 << 10)


@contextmanager
def serve(plan: Plan) -> Iterator[str]:
    """Serve every host of the plan until the block ends; yields the address, `127.0.0.1:port`.

    Leaving the block cuts all connections, those that trickle too, and returns once the thread has ended.
    """
    started: queue.SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: asyncio.run(_run(Site(plan), started)), name="toyweb", daemon=True)
    thread.start()
    address, loop, stop = started.get(timeout=30)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _run(site: Site, started: queue.SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_talk(site, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    stop = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_HEAD_BYTES, backlog=1024)
    host, port = server.sockets[0].getsockname()
    started.put((f"{host}:{port}", asyncio.get_running_loop(), stop))
    await stop.wait()
    server.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


async def _talk(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: requests in turn, until either side has had enough."""
    try:
        while await _exchange(site, reader, writer):
            pass
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the client went away, fell silent, or sent no HTTP: nobody is left to tell
    finally:
        writer.transport.abort() if writer.transport.get_write_buffer_size() > len(_CHUNK) else writer.close()


async def _exchange(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read one request and answer it; True when the connection stays open for the next."""
    async with asyncio.timeout(_IDLE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.split("\r\n")
    method, target, version = [*line.split(" "), "", ""][:3]
    headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    host = headers.get("host", "").partition(":")[0].lower()
    reply = site.answer(host, target) if method in ("GET", "HEAD") else Reply(405)
    last = version != "HTTP/1.1" or headers.get("connection", "").lower() == "close" or reply.delivery != "whole"
    writer.write(_head(reply, last))
    if method != "HEAD":
        await _deliver(reply, writer)
    await writer.drain()
    return not last


def _head(reply: Reply, last: bool) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if reply.delivery != "endless":
        lines.append(f"Content-Length: {len(reply.body)}")
    lines.append(f"Connection: {'close' if last else 'keep-alive'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _deliver(reply: Reply, writer: asyncio.StreamWriter) -> None:
    if reply.delivery == "trickle":
        for byte in reply.body:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(TRICKLE_S)
    elif reply.delivery == "cut":
        writer.write(reply.body[: len(reply.body) // 2])
    else:
        writer.write(reply.body)
        for _ in range(ENDLESS_BYTES // len(_CHUNK) if reply.delivery == "endless" else 0):
            writer.write(_CHUNK)
            await writer.drain()
