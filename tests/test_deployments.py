"""What is under deployments/, and prefect.toml: every file loads, and says how it is run."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from tripost_core.config import RunConfig
from tripost_core.config_file import load_config
from tripost_core.problems import TASKS

ROOT = Path(__file__).parents[1]
RUN_CONFIGS = sorted(
    [path for path in (ROOT / "deployments").glob("*.yaml") if path.name != "prefect.yaml"]
    + list((ROOT / "deployments" / "presets").glob("*.yaml"))
)
PREFECT_YAML = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())


def deployment(name):
    return next(entry for entry in PREFECT_YAML["deployments"] if entry["name"] == name)


def flow_of(entry):
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(str(ROOT / entry["entrypoint"]))


def prefect(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=ROOT,
        env={**os.environ, "PWD": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("path", RUN_CONFIGS, ids=lambda path: path.name)
def test_run_config_loads_and_starts_with_its_command(path):
    assert isinstance(load_config(path), RunConfig)
    first = path.read_text().splitlines()[0]
    assert first.partition(" --set ")[0] == f"# tripost run {path.relative_to(ROOT)}"


def test_there_are_run_configs():
    assert {path.stem for path in RUN_CONFIGS} >= {"debug", *TASKS}


def test_iterate_is_the_main_job_with_heavy_stages_on_the_pool():
    main = load_config(ROOT / "deployments" / "multistep_arithmetic.yaml").model_dump()
    iterate = RunConfig.model_validate(deployment("iterate")["parameters"]["config"]).model_dump()
    assert iterate.pop("compute")["heavy"] == "pool"
    main.pop("compute")
    assert iterate == main


@pytest.mark.parametrize("entry", PREFECT_YAML["deployments"], ids=lambda entry: entry["name"])
def test_entrypoint_imports_and_takes_the_parameters(entry):
    flow = flow_of(entry)
    parameters = entry.get("parameters", {})
    assert set(parameters) <= set(flow.parameters.properties)
    if entry["name"] == "iterate":
        flow.validate_parameters(parameters)
    for schedule in entry.get("schedules", []):
        assert set(schedule["parameters"]) <= set(flow.parameters.properties)
        flow.validate_parameters(parameters | schedule["parameters"])
    assert entry["enforce_parameter_schema"] is True


def test_the_form_explains_every_parameter():
    schema = flow_of(deployment("iterate")).parameters
    assert all(field.get("description") for field in schema.properties.values())


def test_pools_and_the_deployment_of_heavy_stages():
    from flows.local_stack import POOLS

    assert {entry["work_pool"]["name"] for entry in PREFECT_YAML["deployments"]} == set(POOLS)
    heavy = RunConfig().compute.deployment
    entry = deployment(heavy.partition("/")[2])
    assert f"{flow_of(entry).name}/{entry['name']}" == heavy
    assert entry["concurrency_limit"] == 1


def test_the_schedule_is_off_and_derives_the_seed_from_its_date():
    (schedule,) = deployment("iterate")["schedules"]
    assert schedule["active"] is False
    assert schedule["parameters"] == {"seed_from_date": True}


def test_no_machine_path_is_committed():
    for path in [*(ROOT / "deployments").rglob("*.yaml"), ROOT / "prefect.toml"]:
        assert str(ROOT) not in path.read_text() and "/home/" not in path.read_text()


def test_prefect_toml_is_in_force_in_the_checkout():
    code = (
        "from prefect.settings import get_current_settings as s; s = s();"
        "print(s.api.url, s.server.api.port, s.home, s.server.analytics_enabled, s.results.default_serializer,"
        " *s.logging.extra_loggers, s.server.ephemeral.enabled, s.server.ephemeral.startup_timeout_seconds)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    expected = "http://127.0.0.1:4210/api 4210 .prefect False json tripost_core False 90"
    assert result.stdout.strip() == expected, result.stderr


@pytest.fixture(scope="module")
def deployed(prefect_server):
    """The API of a server on which `prefect deploy --all` has run."""
    for pool in ("cpu", "a100"):
        template = json.loads((ROOT / "deployments" / "pools" / f"process-{pool}.json").read_text())
        body = {"name": pool, "type": "process", "base_job_template": template}
        httpx.post(f"{prefect_server}/work_pools/", json=body, trust_env=False, timeout=60).raise_for_status()
    arguments = ("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    result = prefect(*arguments, PREFECT_API_URL=prefect_server)
    assert result.returncode == 0, result.stdout + result.stderr
    return prefect_server


def read(url, name):
    return httpx.get(f"{url}/deployments/name/{name}", trust_env=False, timeout=60).raise_for_status().json()


def test_deploys(deployed):
    iterate, a100 = read(deployed, "tripost/iterate"), read(deployed, "heavy-stage/a100")
    assert (iterate["work_pool_name"], a100["work_pool_name"]) == ("cpu", "a100")
    assert iterate["enforce_parameter_schema"]
    assert iterate["job_variables"]["working_dir"] == a100["job_variables"]["working_dir"] == str(ROOT)
    (schedule,) = iterate["schedules"]
    assert not schedule["active"] and schedule["parameters"] == {"seed_from_date": True}
    (pull,) = iterate["pull_steps"]
    assert pull["prefect.deployments.steps.set_working_directory"]["directory"] == str(ROOT)


def test_a_bad_parameter_is_refused_at_the_command_line(deployed):
    bad = json.dumps({"train": {"learning_rate": -1}})
    arguments = ("deployment", "run", "tripost/iterate", "--param", f"config={bad}")
    result = prefect(*arguments, PREFECT_API_URL=deployed)
    assert result.returncode == 1
    assert "config.train.learning_rate" in result.stdout


@pytest.mark.parametrize(
    "parameters",
    [
        {"config": {"trian": {}}},
        {"config": {"task": "chess"}},
        {"config": {"iterations": 0}},
        {"config": {"balance": {"replay": "some"}}},
        {"fresh": "perhaps"},
    ],
)
def test_a_bad_parameter_is_refused_at_submission(deployed, parameters):
    identifier = read(deployed, "tripost/iterate")["id"]
    url = f"{deployed}/deployments/{identifier}/create_flow_run"
    assert httpx.post(url, json={"parameters": parameters}, trust_env=False, timeout=60).status_code in (409, 422)


def automation(name):
    return yaml.safe_load((ROOT / "deployments" / "automations" / f"{name}.yaml").read_text())


def test_the_automations_wait_as_long_as_the_run_that_hands_off():
    from tasks import hand_off

    assert automation("crashed-runs")["trigger"]["within"] == hand_off.SILENCE_SECONDS
    unstarted = automation("unstarted-runs")["trigger"]
    assert unstarted["within"] == hand_off.PENDING_SECONDS
    names = ("crashed-runs", "unstarted-runs")
    assert tuple(automation(name)["actions"][0]["message"] for name in names) == hand_off.GIVEN_UP_MESSAGES
    # What waits for a worker, a slot or another try is Scheduled, under one of these names.
    waiting = {"Scheduled", "Late", "AwaitingConcurrencySlot", "AwaitingRetry"}
    assert {f"prefect.flow-run.{name}" for name in waiting | {"Running", "Cancelled"}} <= set(unstarted["expect"])


# -- containers --------------------------------------------------------------------------------------------------------

CONTAINERS = ROOT / "deployments" / "containers"
POOLS = sorted((ROOT / "deployments" / "pools").glob("*.json"))


def test_deployments_in_containers_are_the_others_with_the_code_of_the_image():
    inside = yaml.safe_load((CONTAINERS / "prefect.yaml").read_text())
    assert inside["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    for one, other in zip(inside["deployments"], PREFECT_YAML["deployments"], strict=True):
        pool = {key: value for key, value in other["work_pool"].items() if key != "job_variables"}
        assert one == {**other, "work_pool": pool}


def test_compose_has_every_service_and_no_secret():
    text = (CONTAINERS / "compose.yaml").read_text()
    compose = yaml.safe_load(text)
    assert set(compose["services"]) == {"postgres", "server", "deploy", "worker-cpu", "worker-a100"}
    devices = compose["services"]["worker-a100"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert compose["services"]["server"]["ports"] == ["127.0.0.1:4200:4200"]
    for name, value in compose["services"]["postgres"]["environment"].items():
        assert "PASSWORD" not in name or value.startswith("${")


def test_what_the_image_copies_is_there():
    for line in (CONTAINERS / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line


def image_environment():
    """What ENV of the Dockerfile sets."""
    text = (CONTAINERS / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.removeprefix("ENV ") for line in text.splitlines() if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def environment_of(path):
    """The default of `env` in a job template."""
    return json.loads(path.read_text())["variables"]["properties"]["env"]["default"]


def mounted(path):
    """Where a flow run of this template sees a volume that all of them share."""
    template = json.loads(path.read_text())
    if path.stem.startswith("docker"):
        return [volume.split(":")[1] for volume in template["variables"]["properties"]["volumes"]["default"]]
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    claims = {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    return [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] in claims]


def test_heartbeats_come_often_enough_wherever_a_flow_run_starts():
    """Prefect's own is every 180 s, which the automation would take for a crash."""
    import tomllib

    checkout = tomllib.loads((ROOT / "prefect.toml").read_text())["flows"]["heartbeat_frequency"]
    environments = [image_environment(), *(environment_of(path) for path in POOLS)]
    every = [checkout, *(int(environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) for environment in environments)]
    assert len(every) == 8 and max(every) <= automation("crashed-runs")["trigger"]["within"] / 3


def test_results_of_containers_lie_on_the_volume_that_they_share():
    compose = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    places = [(image_environment(), [mount.split(":")[1] for mount in service["volumes"]])
              for name, service in compose["services"].items() if name.startswith("worker")]  # fmt: skip
    places += [(environment_of(path), mounted(path)) for path in POOLS if not path.stem.startswith("process")]
    assert len(places) == 6
    for environment, volumes in places:
        results = Path(environment["PREFECT_RESULTS_LOCAL_STORAGE_PATH"])
        assert any(results.is_relative_to(volume) for volume in volumes)
        # A worker passes its own home on, and that of a checkout is relative.
        assert Path(environment["PREFECT_HOME"]).is_absolute()


def test_a_container_on_the_network_of_compose_finds_the_server_there():
    compose = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    url = compose["services"]["worker-cpu"]["environment"]["PREFECT_API_URL"]
    for path in POOLS:
        if path.stem.startswith("docker"):
            networks = json.loads(path.read_text())["variables"]["properties"]["networks"]["default"]
            assert networks == [compose["networks"]["tripost"]["name"]]
            assert environment_of(path)["PREFECT_API_URL"] == url


def test_the_settings_are_those_that_prefect_reads():
    code = (
        "from prefect.settings import get_current_settings as s; s = s();"
        "print(s.flows.heartbeat_frequency, s.results.local_storage_path, s.home, s.server.concurrency.lease_storage)"
    )
    server = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["services"]["server"]["environment"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = inherited | image_environment() | server
    result = subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    assert result.stdout.split()[:3] == ["30", "/app/runs/.results", "/state"], result.stderr
    assert result.stdout.strip().endswith("lease_storage.filesystem")


@pytest.mark.parametrize("path", POOLS, ids=lambda path: path.stem)
def test_a_job_template_has_a_default_for_all_that_it_needs(path):
    """Every placeholder is a variable, and the variables that a flow run cannot do without have a default."""
    template = json.loads(path.read_text())
    variables = template["variables"]["properties"]
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    assert used == set(variables)
    # Given by Prefect, and the last by each deployment.
    given = {"name", "command", "labels", "job_watch_timeout_seconds", "working_dir"}
    assert {name for name in used if "default" not in variables[name]} <= given
    assert ("gpus" in variables) == (path.stem.endswith("a100") and not path.stem.startswith("process"))
    patience = automation("unstarted-runs")["trigger"]["within"]
    assert variables.get("pod_watch_timeout_seconds", {"default": 0})["default"] < patience


WORKERS = {
    "process": ("prefect.workers.process", "ProcessJobConfiguration"),
    "docker": ("prefect_docker.worker", "DockerWorkerJobConfiguration"),
    "kubernetes": ("prefect_kubernetes.worker", "KubernetesWorkerJobConfiguration"),
}


def configured(path, values):
    """What the worker's own configuration class makes of the template, for a worker that was started in a checkout."""
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import temporary_settings

    module, name = WORKERS[path.stem.partition("-")[0]]
    worker = pytest.importorskip(module, reason=f"{module} is not installed (make test-slow)")
    made = asyncio.run(getattr(worker, name).from_template_and_values(json.loads(path.read_text()), values))
    own = {"home": ".prefect", "api.url": "http://127.0.0.1:4210/api", "results.local_storage_path": "/own/results"}
    with temporary_settings(own):
        made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="stage"))
    return made


@pytest.mark.parametrize("path", POOLS, ids=lambda path: path.stem)
def test_a_worker_asks_for_the_gpu_and_passes_the_environment_on(path):
    kind, _, pool = path.stem.partition("-")
    made = configured(path, {"name": "stage", **({"working_dir": str(ROOT)} if kind == "process" else {})})
    assert environment_of(path).items() <= made.env.items()
    if kind == "process":
        # Where results lie on these machines, and the server, is what the worker was told.
        assert made.env["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] == "/own/results"
        assert made.working_dir == ROOT and made.stream_output
    elif kind == "docker":
        asked = made.container_create_kwargs.get("device_requests")
        gpus = [{"Driver": "nvidia", "Count": 1, "Capabilities": [["gpu"]]}]
        assert asked == (gpus if pool == "a100" else None)
        assert made.volumes == ["tripost-runs:/app/runs"] and made.image == "tripost:0.1.0"
    else:
        pod = made.job_manifest["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert environment_of(path).items() <= {entry["name"]: entry["value"] for entry in container["env"]}.items()
        limits = container["resources"].get("limits", {})
        assert limits == ({"nvidia.com/gpu": 1} if pool == "a100" else {})
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "tripost-runs"}


def test_every_type_of_pool_has_its_templates_and_they_are_used():
    from flows.local_stack import POOLS as NAMES

    assert {path.stem for path in POOLS} == {f"{kind}-{name}" for kind in WORKERS for name in NAMES}
    script = (CONTAINERS / "deploy.sh").read_text()
    assert '--base-job-template "deployments/pools/$type-$pool.json"' in script


def test_the_lock_of_vllm_is_one_that_the_engine_takes():
    from tripost_core.lm.engines.vllm import MIN_VERSION

    lines = (ROOT / "deployments" / "vllm" / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert tuple(int(part) for part in pins["vllm"].split(".")) >= MIN_VERSION
    assert all("+" not in version for version in pins.values())
