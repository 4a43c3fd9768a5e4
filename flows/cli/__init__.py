"""The commands of pt-pipeline, one file each; heavy libraries are imported when a command runs."""
