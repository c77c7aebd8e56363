"""Ray clusters for tests. Several stand on one machine at once, beside whatever else is tested there, so each port is
one that Ray finds free, and a start that took Ray longer than it waits (30 s) is tried again."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

NODE = {"object_store_memory": 80 << 20}
TRIES = 3


@contextmanager
def environment(**more: str) -> Iterator[None]:
    """Ray as tests want it, for this process and those that it starts."""
    before = dict(os.environ)
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    os.environ.update(RAY_gcs_server_port_wait_time_s="120")
    os.environ.update(RAY_memory_monitor_refresh_ms="0")  # else Ray kills workers for memory that others have
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def cluster(head: Mapping[str, Any], *nodes: Mapping[str, Any]) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head and nodes. At its end nothing is left."""
    import ray

    with environment():
        made = _started({"include_dashboard": False, "dashboard_agent_listen_port": None, **NODE, **head})
        try:
            for node in nodes:
                made.add_node(**NODE, **node)
            made.wait_for_nodes(120)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def _started(head: dict[str, Any], tries: int = TRIES) -> Any:
    from ray.cluster_utils import Cluster

    try:
        return Cluster(initialize_head=True, head_node_args=head)
    except Exception:  # Ray raises no other
        if tries == 1:
            raise
        return _started(head, tries - 1)
