"""The webhook receiver: from a signed request of a Git host to one run at the pushed commit."""
