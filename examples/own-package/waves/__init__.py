"""A network for waves: an example of a package of one's own."""
