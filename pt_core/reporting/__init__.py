"""Pictures and pages for people, drawn from a finished run."""
