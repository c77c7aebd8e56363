"""The source, cut into shards while they are worked on already.

The list of a web-sized source is read for minutes; the first shard is known after its first rows. So a thread of its
own reads, and the scheduler takes what is there.
"""

from __future__ import annotations

import queue
import threading

from curate.plan import Job
from curate.shard import Slice
from curate.storage import Storage

__all__ = ["Cutting"]


class Cutting:
    """A thread that cuts the source. `found` is what was taken from it so far."""

    def __init__(self, job: Job, storage: Storage) -> None:
        self.found: list[Slice] = []
        self.ended = False
        self.error: BaseException | None = None
        self._queue: queue.SimpleQueue[Slice | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(job, storage), daemon=True)
        self._thread.start()

    def _read(self, job: Job, storage: Storage) -> None:
        try:
            for piece in job.slices(storage):
                self._queue.put(piece)
        except BaseException as error:  # noqa: BLE001  (handed to the thread that waits)
            self.error = error
        self._queue.put(None)

    def take(self, timeout_s: float) -> Slice | None:
        """The next slice, or None when there is none yet or none any more (`ended`). Raises what reading raised."""
        if self.ended:
            return None
        try:
            piece = self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            return None
        if piece is None:
            self.ended = True
            if self.error is not None:
                raise self.error
            return None
        self.found.append(piece)
        return piece

    def there(self) -> list[Slice]:
        """All that has been read by now and not been taken. What reading raised is left for `take`, to be raised when
        the shards before it have been handed out."""
        count = len(self.found)
        while not self.ended:
            try:
                piece = self._queue.get_nowait()
            except queue.Empty:
                break
            if piece is not None:
                self.found.append(piece)
                continue
            if self.error is not None:
                self._queue.put(None)
                break
            self.ended = True
        return self.found[count:]
