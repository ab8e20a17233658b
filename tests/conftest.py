"""What all tests share: properties are not timed, since the machine that runs them may be busy with other work."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tripost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tripost")


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A real Prefect server on the loopback interface, as `tripost run` starts it: its API's URL."""
    from flows.embedded_server import embedded_server

    home = tmp_path_factory.mktemp("prefect")
    with embedded_server(home, stack_home=home / "no-stack") as url:
        yield url
