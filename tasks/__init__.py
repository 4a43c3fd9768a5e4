"""Prefect tasks: one a file, each a decorator round one call into pt_core."""
