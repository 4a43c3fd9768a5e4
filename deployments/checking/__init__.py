"""What Prefect ignores in a file of deployments, found before it is deployed; no server is asked."""
