"""The small checkpoint, whose bundles the examples load."""

from tiny_fixtures import builder, dataset

__all__ = ["builder", "dataset"]
