"""Systolith: a generator of exact neural-network accelerators for the edge."""

__version__ = "0.1.0"
