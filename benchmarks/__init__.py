"""Measurements of todo_schema beside its peers: counts first, then ratios taken side by side in one run."""
