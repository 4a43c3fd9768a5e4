"""Signatures of the commands that run the product as a service; each imports its body when it is called."""
