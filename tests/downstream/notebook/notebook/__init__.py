"""Tasks, and notes on them."""
