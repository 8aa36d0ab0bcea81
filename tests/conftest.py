"""Hypothesis: the same examples in every run, and no time limit for one: simulations are slow on a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("systolith", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("systolith")
