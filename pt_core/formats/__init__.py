"""Deployable formats, one file each."""
