"""`python -m todo_schema` and `todo-schema`: the command line, where its extra is installed."""

import sys


def main() -> None:
    """Run the command line, or say how to install it."""
    try:
        import rich  # noqa: F401, PLC0415  # an extra: its absence is answered, not raised
        import typer  # noqa: F401, PLC0415  # ditto
    except ImportError:
        sys.stderr.write(
            "found: the command line's libraries (typer, rich) are not installed\n"
            "needed: the extra that brings them\n"
            'cure: pip install "todo-schema[cli]"\n'
        )
        sys.exit(2)  # the exit code of a mistake in the call; a revision that failed has 1
    from todo_schema.cli import app  # noqa: PLC0415  # after the check above

    app(prog_name="todo-schema")


if __name__ == "__main__":
    main()
