"""The starter project that ``pt-pipeline init`` writes: a network, a configuration and a data file of its own."""
