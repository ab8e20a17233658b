"""The automations on a real server, with seconds in the place of minutes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from flows import embedded_server as embedded

ROOT = Path(__file__).parents[1]
SECONDS = 15
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def server_with_automations(tmp_path, monkeypatch):
    settings = {**embedded._SERVER_SETTINGS, "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "true"}
    monkeypatch.setattr(embedded, "_SERVER_SETTINGS", settings)
    with embedded.embedded_server(tmp_path / "server", stack_home=tmp_path / "no-stack") as url:
        for path in (ROOT / "deployments" / "automations").glob("*.yaml"):
            automation = yaml.safe_load(path.read_text())
            automation["trigger"]["within"] = SECONDS
            (tmp_path / path.name).write_text(yaml.safe_dump(automation))
            command = [
                sys.executable,
                "-m",
                "prefect",
                "automation",
                "create",
                "--from-file",
                str(tmp_path / path.name),
            ]
            environment = embedded.clean_environment(PREFECT_API_URL=url, PREFECT_HOME=str(tmp_path / "home"))
            subprocess.run(command, env=environment, check=True, cwd=tmp_path)
        yield url


def test_a_run_that_was_taken_and_never_ran_crashes_and_one_that_waits_does_not(server_with_automations):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.events import emit_event
    from prefect.states import AwaitingConcurrencySlot, Pending, Running, Scheduled

    @flow
    def anything():
        pass

    def state(run):
        return client.read_flow_run(run.id).state

    with get_client(sync_client=True) as client:
        # What each is after it was scheduled.
        histories = {
            "dead": [Pending()],
            "waits for a worker": [],
            "waits for a slot": [Pending(), AwaitingConcurrencySlot()],
            "runs": [Pending(), Running()],
            "silent": [Pending(), Running()],
        }
        runs = {}
        for name, states in histories.items():
            runs[name] = client.create_flow_run(anything, name=name, state=Scheduled())
            for following in states:
                client.set_flow_run_state(runs[name].id, following, force=True)

        def beat(name):
            emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{runs[name].id}"})

        beat("silent")
        deadline = time.monotonic() + 120
        while not (state(runs["dead"]).is_crashed() and state(runs["silent"]).is_crashed()):
            assert time.monotonic() < deadline, {name: state(run).name for name, run in runs.items()}
            beat("runs")
            time.sleep(1)
        assert "pending" in state(runs["dead"]).message and "heartbeat" in state(runs["silent"]).message
        for _ in range(SECONDS):  # time enough for the others
            beat("runs")
            time.sleep(1)
        others = {name: state(run).name for name, run in runs.items() if name not in ("dead", "silent")}
        expected = {"waits for a worker": "Scheduled", "waits for a slot": "AwaitingConcurrencySlot", "runs": "Running"}
        assert others == expected
