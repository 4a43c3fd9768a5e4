"""Prefect flows, the configuration they are composed from, and the command line."""
