"""Immutable bundles on disk: what they hold, how they are written, how they are trusted."""
