"""Networks: what they are made of, how they are built and initialised."""
