"""The small checkpoint that every registered step is tried on."""

from tiny_fixtures import builder, dataset

__all__ = ["builder", "dataset"]
