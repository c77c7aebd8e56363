"""The board, the scrape configs and the exporter name the same metrics, labels and ports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.run.metrics import BUILD, METRICS, parse_address

CLUSTER = Path(__file__).resolve().parents[2] / "configs/cluster"
LABELS = {metric.name: {*metric.labels} for metric in METRICS} | {"curate_build_info": {*BUILD}}
BY_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds to every series."""
BUILT_IN = {"sum", "max", "by", "rate", "increase", "topk", "label_values"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((CLUSTER / "grafana_dashboard.json").read_text())
    return told


def expressions(board: dict[str, Any]) -> list[str]:
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return asked + [one["definition"] for one in board["templating"]["list"] if one["type"] == "query"]


def test_every_metric_that_is_served_is_on_the_board_and_no_other(board: dict[str, Any]) -> None:
    named = {name for asked in expressions(board) for name in re.findall(r"curate_\w+", asked)}
    assert named == set(LABELS)


def test_every_label_that_is_asked_for_is_one_of_its_metric(board: dict[str, Any]) -> None:
    asked_for = set()
    for asked in expressions(board):
        names = re.findall(r"curate_\w+", asked)
        allowed = set.intersection(*(LABELS[name] for name in names)) | BY_PROMETHEUS
        filtered = {label for inside in re.findall(r"{([^}]*)}", asked) for label in re.findall(r"(\w+)=", inside)}
        grouped = {label for inside in re.findall(r"by \(([^)]*)\)", asked) for label in inside.split(", ")}
        queried = set(re.findall(r"label_values\(.*, (\w+)\)", asked))
        assert filtered | grouped | queried <= allowed, asked
        asked_for |= filtered | grouped | queried
        words = set(re.findall(r"[a-z_]+", re.sub(r'"[^"]*"|{[^}]*}|\[[^]]*\]|curate_\w+', "", asked)))
        assert words <= BUILT_IN | asked_for, asked
        assert asked.count("(") == asked.count(")")
    legends = {
        label for p in board["panels"] for t in p["targets"] for label in re.findall(r"{{(\w+)}}", t["legendFormat"])
    }
    assert legends | asked_for == set().union(*LABELS.values()) | {"instance"}


def test_counters_are_asked_for_their_growth_or_their_sum_and_end_in_total(board: dict[str, Any]) -> None:
    for metric in METRICS:
        unit_named = re.search(
            r"_(rows|rows_kept|rows_dropped|fetches|seconds|bytes|failed|retried|lost)_total$", metric.name
        )
        assert bool(unit_named) == metric.counter, metric.name
        assert metric.about.endswith("."), metric.name
    rates = re.findall(r"(?:rate|increase)\((\w+)", " ".join(expressions(board)))
    assert all(name.endswith("_total") for name in rates)


def test_the_board_is_one_that_grafana_10_reads(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] == 38
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    source, *variables = board["templating"]["list"]
    assert (source["type"], source["query"], source["name"]) == ("datasource", "prometheus", "datasource")
    assert {one["name"] for one in variables} == set(re.findall(r"\$(instance|step)\b", json.dumps(board["panels"])))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in {"stat", "bargauge", "timeseries"}
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in {"s", "short", "percentunit", "Bps"}
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        assert all(one["datasource"] == SOURCE for one in (panel, *panel["targets"], *variables))


def test_prometheus_asks_where_the_documented_flag_serves() -> None:
    scrape = yaml.safe_load((CLUSTER / "prometheus.yaml").read_text())
    jobs = {one["job_name"]: one for one in scrape["scrape_configs"]}
    ((target,),) = [one["targets"] for one in jobs["curate"]["static_configs"]]
    assert parse_address(target) == parse_address(":9108")
    assert "metrics_path" not in jobs["curate"], "the default is the path that is served"
    assert jobs["ray"]["file_sd_configs"] == [{"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}]
    text = (CLUSTER / "prometheus.yaml").read_text()
    assert set(re.findall(r"curate_\w+", text)) <= set(LABELS)


def test_the_operator_asks_the_port_at_which_the_driver_on_kubernetes_serves() -> None:
    monitor = yaml.safe_load((CLUSTER / "podmonitor.yaml").read_text())
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    run = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())["spec"]
    (container,) = run["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    host, port = parse_address(re.search(r"--metrics (\S+)", run["entrypoint"]).group(1))  # type: ignore[union-attr]
    assert (host, port) == ("0.0.0.0", ports[endpoint["port"]])
    assert {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}.items() <= ports.items()
