"""The `yumen` command."""
