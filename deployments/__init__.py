"""Configurations and deployment files."""
