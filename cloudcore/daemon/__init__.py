"""Composition roots, one per daemon."""
