"""Figures for a table, with as many digits as they deserve."""

_MILLISECOND = 1e-3
_MANY = 1e-2


def duration(seconds: float) -> str:
    """Write a time in microseconds or milliseconds."""
    if seconds >= _MANY:
        return f"{seconds * 1e3:,.0f} ms"
    if seconds >= _MILLISECOND:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} µs"
