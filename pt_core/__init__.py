"""The PyTorch logic of pt-pipeline: usable in a notebook, with no server and no orchestrator."""
