"""Fixtures that several files use. Hypothesis: the same examples in every run, and no time limit for one, since
simulations are slow on a busy machine."""

from hypothesis import HealthCheck, settings

from tests.cli_calls import call, library, refused  # noqa: F401  fixtures

settings.register_profile("systolith", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("systolith")
