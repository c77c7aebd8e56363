"""One request and its answer, as the wire fills it in: no libcurl here, and nothing of rows, retries or manners."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.fetch.url import Target

__all__ = ["Exchange", "Verdict"]

ERROR_BODY_BYTES = 65_536  # of an answer that is no picture: read so far to keep the connection, and thrown away
READ = frozenset(
    (
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"location",
        b"retry-after",
        b"x-robots-tag",
        b"tdm-reservation",
    )
)
CODINGS = frozenset(("gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"))
MOST_VALUES = 50
SWITCHING_PROTOCOLS = 101  # the only one below 200 that is an answer: nothing of HTTP follows it
Verdict = tuple[FetchStatus, str]


@dataclass(eq=False, slots=True)
class Exchange:
    """A request for `target` and what came of it.

    `most_bytes` bounds the body after decompression; with `cut` a longer body is cut there and is still a success.
    `judge` sees the exchange when the headers of a 2xx answer are there and may refuse the body. `status` is SUCCESS
    when an HTTP answer arrived, whatever its code, and None while it runs. Times are of the monotonic clock. Without
    `decode` the body is taken as it comes, whatever coding it is said to have.
    """

    target: Target
    most_bytes: int
    total_s: float
    judge: Callable[[Exchange], Verdict | None] | None = None
    cut: bool = False
    decode: bool = True
    status: FetchStatus | None = None
    detail: str = ""
    http_status: int | None = None
    headers: dict[bytes, list[str]] = field(default_factory=dict)
    size_bytes: int = 0
    started_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    _lines: list[bytes] = field(default_factory=list)
    _body: bytearray = field(default_factory=bytearray)
    _headers_done: bool = False
    _stopped: Verdict | None = None
    _discard: bool = False
    _window_s: float = 0.0
    _window_bytes: int = 0

    @property
    def seconds(self) -> float:
        return self.ended_s - self.started_s

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    @property
    def told(self) -> bool:
        """Whether the headers were the whole answer, so that it does not matter how its body ends."""
        return self._discard

    @property
    def stopped(self) -> Verdict | None:
        """Why we ended the transfer ourselves, if we did."""
        return self._stopped

    @property
    def miscoded(self) -> bool:
        """Whether it must be asked for again without `decode`: its Content-Encoding is none, such as `utf-8`.

        Browsers read such a body as it is; libcurl ends the transfer.
        """
        codings = self._codings()
        return self.decode and bool(codings) and CODINGS.isdisjoint(codings)

    def header(self, name: bytes) -> str | None:
        """The first value of a header, by its lower-case name; only those in READ are kept."""
        values = self.headers.get(name)
        return values[0] if values else None

    def take_header(self, line: bytes) -> bool:
        """One line as libcurl hands it over; False ends the transfer."""
        if len(line) > 2:
            self._lines.append(line)
            return True
        code = _status_code(self._lines)
        if code < 200 and code != SWITCHING_PROTOCOLS:
            self._lines.clear()  # 100 Continue and 103 Early Hints come before the answer
            return True
        self._headers_done = True
        self.http_status = code
        self._window_s = time.monotonic()
        self._read_headers()
        self._stopped = self._verdict_on_headers()
        return self._stopped is None

    def take_body(self, chunk: bytes) -> bool:
        """A piece of the body after decompression; False ends the transfer."""
        room = self.most_bytes - self.size_bytes
        self.size_bytes += len(chunk)
        if not self._discard:
            self._body += chunk[:room]
        if len(chunk) <= room:
            return True
        cut = (FetchStatus.SUCCESS, "")
        self._stopped = cut if self.cut else (FetchStatus.TOO_MANY_BYTES, f"more than {self.most_bytes} bytes")
        return False

    def overdue(self, now_s: float, settings: FetchSettings) -> Verdict | None:
        """The deadline this exchange has missed, if any."""
        if now_s - self.started_s > self.total_s:
            return FetchStatus.TIMEOUT, f"not done after {settings.total_timeout_s:g} s"
        if not self._headers_done:
            late = now_s - self.started_s > settings.first_byte_timeout_s
            return (FetchStatus.TIMEOUT, f"no answer after {settings.first_byte_timeout_s:g} s") if late else None
        window_s = settings.least_rate_window_s
        if now_s - self._window_s < window_s:
            return None
        arrived, self._window_bytes = self.size_bytes - self._window_bytes, self.size_bytes
        self._window_s = now_s
        if arrived < settings.least_rate_bytes_s * window_s:
            return FetchStatus.TOO_SLOW, f"fewer than {settings.least_rate_bytes_s} bytes a second over {window_s:g} s"
        return None

    def forgive(self, away_s: float) -> None:
        """Do not count a time in which nobody read from the socket."""
        self.started_s += away_s
        self._window_s += away_s

    def _read_headers(self) -> None:
        for line in self._lines[1:]:
            name, _, value = line.partition(b":")
            name = name.strip().lower()
            if name in READ:
                values = self.headers.setdefault(name, [])
                if len(values) < MOST_VALUES:
                    values.append(_text(value.strip()))

    def _verdict_on_headers(self) -> Verdict | None:
        if self.http_status is None or not 200 <= self.http_status < 300:
            self._discard = self.cut = True
            self.most_bytes = ERROR_BODY_BYTES
        layers = len(self._codings())
        if layers > 1 and self.decode and not self.miscoded:
            return FetchStatus.IMAGE_BROKEN, f"compressed {layers} times over"
        if self._discard:
            return None
        length = self.header(b"content-length") or ""
        announced = int(length) if length.isdecimal() and len(length) < 19 else 0
        if announced > self.most_bytes and not self.cut:
            return FetchStatus.TOO_MANY_BYTES, f"{announced} bytes announced, at most {self.most_bytes}"
        refused = self.judge(self) if self.judge else None
        return refused or ((FetchStatus.IMAGE_BROKEN, "no such Content-Encoding") if self.miscoded else None)

    def _codings(self) -> list[str]:
        """How the body was compressed. Each time multiplies what a byte may cost by 1,000, without any output.

        Three layers make 3 kB out of 2 GB of a gzip header's file name: 5 s in which no deadline can act.
        """
        names = ",".join(self.headers.get(b"content-encoding", ())).lower().split(",")
        return [name.strip() for name in names if name.strip() not in ("", "identity", "none")]


def _status_code(lines: list[bytes]) -> int:
    words = lines[0].split(None, 2) if lines else []
    return int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) == 3 else 599


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
