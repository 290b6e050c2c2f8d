"""Draws what the reads cost, for the documentation."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parents[1] / "docs" / "schema-reads.svg"

# Of both versions in turns: these two are told apart by whoever sees no colours, too, and on white and on black.
_OLD = "#d9822b"
_NEW = "#2f80c2"
# Between white and black: the page behind the picture is either.
_INK = "#7d8590"
_HEIGHT = 0.36


class Bars(NamedTuple):
    """A query, with the seconds that it takes: in 0.1 and in 0.2, for typical and for heavy subjects."""

    name: str
    old_typical: float
    old_heavy: float
    new_typical: float
    new_heavy: float


def require() -> None:
    """Say early that nothing can be drawn.

    Raises:
        ImportError: matplotlib is not installed.

    """
    if find_spec("matplotlib") is None:
        raise ImportError(
            "found: no matplotlib\nneeded: matplotlib, which draws the plot\n"
            "cure: pip install --group bench (pip 25.1 or newer), or leave out --plot and --full"
        )


def draw(bars: Sequence[Bars], rows: str, file: Path) -> None:
    """Draw the bars, one row of the picture for each query; `rows` says of how much."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same picture for the same numbers; and letters that stay letters.
    settings = {
        "svg.hashsalt": "todo-schema",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(11, 0.62 * len(bars) + 1.5))
        sides = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, title, old, new in zip(
            sides,
            ("a typical user or conversation", "a heavy one"),
            ([one.old_typical for one in bars], [one.old_heavy for one in bars]),
            ([one.new_typical for one in bars], [one.new_heavy for one in bars]),
            strict=True,
        ):
            _draw_side(axes, title, old, new)
        sides[0].set_yticks(range(len(bars)), [one.name for one in bars])
        sides[0].invert_yaxis()
        # Room for the figures behind the bars.
        sides[0].set_xlim(right=sides[0].get_xlim()[1] * 5)
        handles, names = sides[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower right", ncols=2, frameon=False)
        figure.text(
            0.01,
            0.02,
            f"Time on the server; each line is ten times the one before. {rows}.",
            fontsize="small",
        )
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    # Matplotlib ends lines with spaces.
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8", newline="\n")


def _draw_side(axes: Any, title: str, old: Sequence[float], new: Sequence[float]) -> None:
    from benchmarks.figures import duration

    for offset, name, colour, seconds in ((-_HEIGHT / 2, "0.1", _OLD, old), (_HEIGHT / 2, "0.2", _NEW, new)):
        places = [place + offset for place in range(len(seconds))]
        drawn = axes.barh(places, seconds, height=_HEIGHT, color=colour, label=name)
        axes.bar_label(drawn, [duration(value) for value in seconds], padding=3, fontsize="small")
    axes.set_xscale("log")
    axes.set_title(title)
    axes.xaxis.set_major_formatter(lambda value, _: duration(value))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
