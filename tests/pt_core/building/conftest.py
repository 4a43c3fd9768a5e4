"""Real steps on a small checkpoint."""

from tiny_fixtures import builder, dataset

__all__ = ["builder", "dataset"]
