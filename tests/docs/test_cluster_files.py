"""The files for clusters name fields that exist, and say the same as the code: units stay off the driver's node."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs/cluster"

# Fields of KubeRay's API group ray.io/v1, as far as they may be wanted here.
CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
AUTOSCALER = {"upscalingMode", "idleTimeoutSeconds", "resources", "env", "envFrom", "volumeMounts", "version"}
HEAD = {"rayStartParams", "template", "serviceType", "headService", "enableIngress"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "rayStartParams", "template"}
POD = {"containers", "volumes", "tolerations", "nodeSelector", "serviceAccountName"}
CONTAINER = {"name", "image", "env", "envFrom", "resources", "volumeMounts", "ports"}
START = {"num-cpus", "num-gpus", "object-store-memory", "dashboard-host", "metrics-export-port"}


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def clusters() -> dict[str, Any]:
    return {"raycluster": read("raycluster.yaml")["spec"], "rayjob": read("rayjob.yaml")["spec"]["rayClusterSpec"]}


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_a_cluster_for_kubernetes_has_fields_that_kuberay_knows(name: str) -> None:
    spec = clusters()[name]
    assert set(spec) <= CLUSTER
    assert set(spec.get("autoscalerOptions", {})) <= AUTOSCALER
    assert set(spec["headGroupSpec"]) <= HEAD
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= GROUP
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group["rayStartParams"]) <= START
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "KubeRay takes strings"
        pod = group["template"]["spec"]
        assert set(pod) <= POD
        (container,) = pod["containers"]
        assert set(container) <= CONTAINER
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "units stay off the driver's node"


def test_the_cluster_that_stays_grows_for_cpus_and_has_its_gpu_from_the_start() -> None:
    whole = read("raycluster.yaml")
    assert (whole["apiVersion"], whole["kind"]) == ("ray.io/v1", "RayCluster")
    assert whole["spec"]["enableInTreeAutoscaling"] is True
    groups = {group["groupName"]: group for group in whole["spec"]["workerGroupSpecs"]}
    assert groups["cpu"]["minReplicas"] < groups["cpu"]["maxReplicas"]
    assert groups["gpu"]["minReplicas"] >= 1, "the engine asks for no GPU that is not there"


def test_the_file_for_ray_up_passes_rays_own_check() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read("ray_up.yaml")))
    with pytest.raises(Exception, match="idle_minutes"):
        validate_config(prepare_config(read("ray_up.yaml") | {"idle_minutes": 5}))


def test_ray_up_keeps_units_off_the_head_and_has_its_gpu_from_the_start() -> None:
    config = read("ray_up.yaml")
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert kinds["gpu"]["min_workers"] >= 1
    assert sum(kind.get("max_workers", 0) for kind in kinds.values()) == config["max_workers"]
    assert all((ROOT / local).is_dir() for local in config["file_mounts"].values())


def test_all_files_name_one_image_and_the_installed_rays_version() -> None:
    import ray

    text = {path.name: path.read_text() for path in FOLDER.glob("ray*.yaml")}
    assert len(text) == 3
    assert all("REGISTRY/curate-vl:0.1.0" in one for one in text.values())
    versions = {spec["rayVersion"] for spec in clusters().values()}
    assert versions == {ray.__version__}
