"""Deployable formats and their rewrites, one file each."""
