"""The cluster files, as far as they can be checked without a cloud.

The two cloud files pass Ray's own preparation and validation, which need no network. There is no Kubernetes here: the
KubeRay files are parsed and their structure is checked, but no operator has seen them.
"""

import base64
import copy
import http.server
import json
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster"
CLOUDS = ("aws", "gcp")
RAY = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and path.suffix != ".pyc")


def load(name: str) -> dict:
    return yaml.safe_load((CLUSTER / name).read_text())


def environment(cloud: str) -> dict[str, str]:
    """The variables that the containers of all nodes are started with."""
    options = [option.split(maxsplit=1) for option in load(f"{cloud}.yaml")["docker"]["run_options"]]
    return dict(value.split("=", 1) for name, value in options if name == "--env")


# --- ray up ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_accepts_the_file(cloud, monkeypatch):
    monkeypatch.chdir(ROOT)
    prepared = prepare_config(load(f"{cloud}.yaml"))
    validate_config(prepared)
    for name, node in prepared["available_node_types"].items():
        assert node["resources"], f"{name} would have to be looked up at {cloud}"

    misspelt = copy.deepcopy(prepared)
    misspelt["idle_timeout"] = misspelt.pop("idle_timeout_minutes")
    with pytest.raises(jsonschema.ValidationError):
        validate_config(misspelt)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_head_is_on_demand_and_takes_no_work(cloud):
    config = load(f"{cloud}.yaml")
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert not is_spot(head)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_workers_are_spot_and_come_and_go(cloud):
    config = load(f"{cloud}.yaml")
    workers = {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}
    for node in workers.values():
        assert is_spot(node)
        assert node["min_workers"] == 0
        assert node["max_workers"] > 0
        assert node["resources"]["CPU"] > 0
    assert sum("GPU" in node["resources"] for node in workers.values()) == 1
    assert sum("GPU" not in node["resources"] for node in workers.values()) == 1
    assert sum(node["max_workers"] for node in workers.values()) <= config["max_workers"]
    assert 1 <= config["idle_timeout_minutes"] <= 30


def is_spot(node: dict) -> bool:
    config = node["node_config"]
    on_aws = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    on_gcp = any(each.get("provisioningModel") == "SPOT" for each in config.get("scheduling", []))
    return on_aws or on_gcp


@pytest.mark.parametrize("cloud", CLOUDS)
def test_gpu_workers_run_the_gpu_image(cloud):
    config = load(f"{cloud}.yaml")
    assert config["docker"]["image"].endswith("-cpu")
    for node in config["available_node_types"].values():
        image = node.get("docker", {}).get("worker_image", config["docker"]["image"])
        assert image.endswith("-gpu") == ("GPU" in node["resources"])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_dependencies_are_the_pinned_ones(cloud, tmp_path):
    config = load(f"{cloud}.yaml")
    for local in config["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_file()
    [install] = [command for command in config["setup_commands"] if command.startswith("pip install")]
    assert "--constraint /tmp/setup/constraints.txt" in install
    # Enough is mounted to build the package that the dependencies hang on.
    for mounted, local in config["file_mounts"].items():
        if not local.startswith("~"):
            (tmp_path / Path(mounted).name).write_bytes((ROOT / local).read_bytes())
    build = "from setuptools.build_meta import prepare_metadata_for_build_wheel as prepare; prepare('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    [metadata] = tmp_path.glob("*.dist-info/METADATA")
    assert "Requires-Dist: torch" in metadata.read_text()


def test_every_node_has_a_role():
    aws, gcp = (load(f"{cloud}.yaml")["available_node_types"].values() for cloud in CLOUDS)
    assert all(node["node_config"]["IamInstanceProfile"]["Name"] for node in aws)
    assert all(node["node_config"]["serviceAccounts"][0]["email"] for node in gcp)


def test_what_is_said_twice_agrees():
    assert environment("aws")["AWS_DEFAULT_REGION"] == load("aws.yaml")["provider"]["region"]
    gcp = load("gcp.yaml")
    for node in gcp["available_node_types"].values():
        for disk in node["node_config"]["disks"]:
            assert f"zones/{gcp['provider']['availability_zone']}/" in disk["initializeParams"]["diskType"]


# --- all of them -----------------------------------------------------------------------------------------------------


def test_ray_and_python_are_the_same_everywhere():
    python = (
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
        .removeprefix(">=")
        .partition(",")[0]
    )
    images = [image for path in FILES for image in re.findall(r"rayproject/ray:(\S+)-[cg]pu", path.read_text())]
    assert len(images) == 5
    assert set(images) == {f"{RAY}-py{python.replace('.', '')}"}
    assert load("kuberay/raycluster.yaml")["spec"]["rayVersion"] == RAY


def test_token_authentication_is_the_same_everywhere():
    for cloud in CLOUDS:
        variables = environment(cloud)
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_AUTH_TOKEN_PATH"] in load(f"{cloud}.yaml")["file_mounts"]
        assert not any("RAY_AUTH_MODE" in command for command in load(f"{cloud}.yaml")["head_start_ray_commands"])
    assert load("kuberay/raycluster.yaml")["spec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_keys_in_files(path):
    assert not re.search(r"\b(AKIA|ASIA|GOOG1E)[A-Z0-9]{12,}|PRIVATE KEY|aws_secret", path.read_text())


# --- KubeRay ---------------------------------------------------------------------------------------------------------


def test_kuberay_cluster():
    cluster = load("kuberay/raycluster.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nodeSelector" not in spec["headGroupSpec"]["template"]["spec"]

    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu-worker", "gpu-worker"}
    for name, group in groups.items():
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        pod = group["template"]["spec"]
        assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
        [container] = pod["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu-worker")
        assert any(each["key"] == "nvidia.com/gpu" for each in pod["tolerations"]) == (name == "gpu-worker")

    pods = [spec["headGroupSpec"]["template"]["spec"], *(group["template"]["spec"] for group in groups.values())]
    assert {pod["serviceAccountName"] for pod in pods} == {"colornet"}
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        resources = pod["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
        assert all(isinstance(amount, str) for amount in resources["limits"].values())


def test_kuberay_job_runs_on_that_cluster():
    job = load("kuberay/rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] == load("kuberay/raycluster.yaml")["metadata"]["name"]
    assert job["spec"]["entrypoint"].startswith("python -m jobs.colorize ")


# --- Google's credentials --------------------------------------------------------------------------------------------


def test_gcs_credentials_are_those_of_the_secret():
    """Against a server that answers as Google's documentation says the two services do."""
    secret = {"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret"}
    payload = base64.b64encode(json.dumps(secret).encode()).decode()
    answers = {
        ("/m/project/project-id", "Google", None): "colour",
        ("/m/instance/service-accounts/default/token", "Google", None): json.dumps({"access_token": "token"}),
        ("/s/projects/colour/secrets/colornet-hmac/versions/latest:access", None, "Bearer token"): json.dumps(
            {"payload": {"data": payload}}
        ),
    }

    class Google(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get((self.path, self.headers["Metadata-Flavor"], self.headers["Authorization"]))
            self.send_response(200 if answer else 403)
            self.end_headers()
            self.wfile.write((answer or "").encode())

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Google) as google:
        threading.Thread(target=google.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        base = f"http://127.0.0.1:{google.server_port}"
        script = f"import gcs_credentials as gcs; gcs.METADATA, gcs.SECRETS = '{base}/m', '{base}/s'"
        script += "; print(gcs.credentials('colornet-hmac'))"
        command = [sys.executable, "-B", "-c", script]
        told = subprocess.run(command, cwd=CLUSTER, check=True, capture_output=True, text=True)
        google.shutdown()
    assert json.loads(told.stdout) == secret
