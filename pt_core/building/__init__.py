"""Which steps exist, in which order they run, and the one place that runs them."""
