"""The sums of a run for Prometheus, served by the driver over HTTP while it runs: `curate run ... --metrics :9108`.

Nothing is counted for its sake: a scrape reads the ledger that bars and lines show, in 1 to 4 ms, and a run
that nobody scrapes pays nothing. Labels are steps of the config, and names of closed lists, so the number of series is
bounded by the config. On Ray it is the driver that serves too: it alone knows every unit's end. The same counts
through `ray.util.metrics` would be another set of names (`ray_curate_...`, with the label of a worker on each), would
need Ray's metrics agent on the driver's node, and could say no more.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from curate import __version__
from curate.errors import ConfigError
from curate.run.ledger import OTHER, SUCCESS, Ledger, StepSums

__all__ = ["METRICS", "Metric", "Server", "parse_address", "serve"]

LOOPBACK = "127.0.0.1"
PRINTABLE = re.compile(r"[ -~]{1,100}")
MOST_PHASES = 20
"""Names of phases of the work that are told of one step; others are `other`."""

Values: TypeAlias = Mapping[tuple[str, ...], float]
"""Values of a metric's series by the values of its labels."""


@dataclass(frozen=True)
class Metric:
    """One metric: its name as it is scraped, what it says, its labels beside `step`, and how it is read."""

    name: str
    about: str
    labels: tuple[str, ...]
    read: Callable[[Ledger, list[StepSums]], Values]

    @property
    def counter(self) -> bool:
        """Whether it only grows, and begins at 0 with each run; else it is a gauge."""
        return self.name.endswith("_total")


def _each(read: Callable[[StepSums], float | None]) -> Callable[[Ledger, list[StepSums]], Values]:
    """One value for each step that has one."""
    return lambda ledger, steps: {(s.label,): value for s in steps if (value := read(s)) is not None}


def _named(
    read: Callable[[StepSums], Mapping[str, float]], names: Callable[[Ledger, StepSums], set[str]]
) -> Callable[[Ledger, list[StepSums]], Values]:
    """A value for each step and name, 0 for names that did not come up: a rate needs a first value to grow from."""

    def values(ledger: Ledger, steps: list[StepSums]) -> Values:
        told: dict[tuple[str, ...], float] = {}
        for step in steps:
            found = read(step)
            told |= {(step.label, name): found.get(name, 0) for name in sorted(names(ledger, step))}
        return told

    return values


def _whole(read: Callable[[Ledger], float | None]) -> Callable[[Ledger, list[StepSums]], Values]:
    """One value for the run; none while it is not known."""
    return lambda ledger, steps: {} if (value := read(ledger)) is None else {(): value}


def _reasons(ledger: Ledger, step: StepSums) -> set[str]:
    return {*ledger.vocabulary.reasons, OTHER} if step.decides or step.dropped else set()


def _statuses(ledger: Ledger, step: StepSums) -> set[str]:
    return {*ledger.vocabulary.statuses, SUCCESS, OTHER} if step.fetches else set()


def _seconds(step: StepSums) -> dict[str, float]:
    told: dict[str, float] = {}
    for name, seconds in step.seconds.items():
        name = name if name in told or len(told) < MOST_PHASES else OTHER
        told[name] = told.get(name, 0.0) + seconds
    return told


METRICS = (
    Metric(
        "curate_rows_total",
        "Rows that a step worked on in this run, in its own unit: samples, pages, documents, parts or pictures.",
        ("step",),
        _each(lambda s: s.rows),
    ),
    Metric(
        "curate_rows_kept_total",
        "Rows that a deciding step kept in this run.",
        ("step",),
        _each(lambda s: s.kept if s.decides or s.kept else None),
    ),
    Metric(
        "curate_rows_dropped_total",
        "Rows that a deciding step dropped in this run, by their first reason. A later round of documents tells those "
        "of earlier rounds again.",
        ("step", "reason"),
        _named(lambda s: s.dropped, _reasons),
    ),
    Metric(
        "curate_fetches_total",
        "Rows that a fetching step asked for in this run, by what became of them.",
        ("step", "status"),
        _named(lambda s: s.statuses, _statuses),
    ),
    Metric(
        "curate_shards_done",
        "Shards that a step is done with, in this run or an earlier one (parts of a spread; 1 for a barrier).",
        ("step",),
        _each(lambda s: s.done),
    ),
    Metric(
        "curate_shards_planned",
        "Shards that a step has in all (parts of a spread; 1 for a barrier), once the source has been read.",
        ("step",),
        _each(lambda s: s.planned),
    ),
    Metric(
        "curate_shards_failed_total",
        "Shards that were set aside in this run, with their error in failed/.",
        (),
        _whole(lambda ledger: ledger.failed),
    ),
    Metric(
        "curate_units_retried_total",
        "Units of work that failed in this run and were tried again, with those whose worker was lost.",
        (),
        _whole(lambda ledger: ledger.retried),
    ),
    Metric(
        "curate_workers_lost_total",
        "Workers that ended in this run while they worked on a unit.",
        (),
        _whole(lambda ledger: ledger.lost),
    ),
    Metric(
        "curate_step_seconds_total",
        "Seconds of work in this run, summed over shards. Steps that share a pass over the pixels each tell all of it.",
        ("step", "phase"),
        _named(_seconds, lambda ledger, step: {*_seconds(step)}),
    ),
    Metric(
        "curate_written_bytes_total",
        "Bytes of the files that a step committed in this run.",
        ("step",),
        _each(lambda s: s.bytes),
    ),
    Metric(
        "curate_units_in_flight",
        "Units of work that the engine has: running, or next in line.",
        (),
        _whole(lambda ledger: ledger.in_flight),
    ),
    Metric(
        "curate_eta_seconds",
        "Seconds until the phase that goes on is done, at its rate so far; absent while that cannot be told. Later "
        "phases are not in it.",
        (),
        _whole(lambda ledger: ledger.left_s()),
    ),
)


class _Collector:
    """What prometheus_client asks at each scrape."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        steps = self._ledger.steps()
        for metric in METRICS:
            family = (CounterMetricFamily if metric.counter else GaugeMetricFamily)(
                metric.name, metric.about, labels=metric.labels
            )
            for values, number in _printable(metric.read(self._ledger, steps)).items():
                family.add_metric(values, number)
            yield family
        build = GaugeMetricFamily("curate_build_info", "Version of curate-vl and of Python.", labels=BUILD)
        build.add_metric((__version__, platform.python_version()), 1)
        yield build


BUILD = ("version", "python")


def _printable(values: Values) -> Values:
    """The series with names that any reader takes; what has another name is counted with `other`."""
    told: dict[tuple[str, ...], float] = {}
    for labels, number in values.items():
        names = tuple(name if PRINTABLE.fullmatch(name) else OTHER for name in labels)
        told[names] = told.get(names, 0) + number
    return told


class Server:
    """The endpoint, from when it is made until `close`. `port` is the one it has, also where 0 was asked for."""

    def __init__(self, ledger: Ledger, host: str, port: int) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise ConfigError(
                "--metrics needs prometheus_client, which comes with ray[default]: pip install prometheus_client"
            ) from error
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(ledger))
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError, UnicodeError) as error:
            raise ConfigError(
                f"--metrics cannot listen at {host} port {port}: {error}; choose another port, or an address of this "
                "machine"
            ) from error
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(ledger: Ledger, address: str) -> Server:
    """Serve a ledger's sums at `HOST:PORT`, every path. Raises ConfigError, before anything runs."""
    return Server(ledger, *parse_address(address))


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[V6]:PORT` or `:PORT`, which is the loopback. Raises ConfigError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535 or (":" in host and not bracketed):
        raise ConfigError(
            f"--metrics is {address!r}; give HOST:PORT such as 0.0.0.0:9108, or :9108 for this machine alone"
        )
    return host.strip("[]") or LOOPBACK, int(port)
