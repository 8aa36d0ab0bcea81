"""Lossless compression of activations."""
