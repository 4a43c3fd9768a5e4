"""The local stack: what its services are, how they are started, watched and stopped."""
