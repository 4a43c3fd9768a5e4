"""The small checkpoint as a root artifact, without processes."""

from tiny_fixtures import dataset, made, root

__all__ = ["dataset", "made", "root"]
