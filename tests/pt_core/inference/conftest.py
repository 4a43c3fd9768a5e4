"""The small checkpoint and its digits."""

from tiny_fixtures import builder, dataset

__all__ = ["builder", "dataset"]
