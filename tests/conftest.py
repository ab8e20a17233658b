"""What all tests share: properties are not timed, since the machine that runs them may be busy with other work."""

from hypothesis import HealthCheck, settings

settings.register_profile("tripost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tripost")
