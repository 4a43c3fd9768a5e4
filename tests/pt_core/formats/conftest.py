"""The small checkpoint as a root artifact, without processes."""

from tiny_fixtures import builder, dataset, made, root

__all__ = ["builder", "dataset", "made", "root"]
