"""The parts that are named, or everything, as `make bench` prints it."""

import argparse
import time
from pathlib import Path

from benchmarks import (
    boot,
    chat_peers,
    contract,
    first_boot,
    imports,
    leases,
    plot,
    race,
    reads,
    release,
    resume,
    stalls,
    tables,
    writes,
)
from benchmarks.both_schemas import both_schemas

PARTS = {
    "boot": boot.measure,
    "first-boot": first_boot.measure,
    "imports": imports.measure,
    "race": race.measure,
    "leases": leases.measure,
    "contract": contract.measure,
    "stalls": stalls.measure,
    "resume": resume.measure,
}
# These share a server that has the same rows at both schemas.
ROWS = ("reads", "writes", "chat-peers")
EVERY = (*PARTS, *ROWS, "release")
SMALL = 0.02


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(EVERY)}; default: all")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--scale",
        type=float,
        default=SMALL,
        help=f"of the rows for {', '.join(ROWS)}, release: 1 is 3,000,000 messages; default: %(default)s",
    )
    size.add_argument(
        "--full", action="store_const", const=1.0, dest="scale", help="--scale 1, and draw the plot of docs/"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw what `reads` measures into this file")
    asked = parser.parse_args()
    parts = asked.parts or EVERY
    if unknown := set(parts) - {*EVERY}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    picture = asked.plot or (plot.FILE if asked.scale == 1 else None)
    if picture and "reads" in parts:
        plot.require()
    started = time.monotonic()
    print(tables.circumstances())
    for part, measure in PARTS.items():
        if part in parts:
            print(f"\n{measure()}", flush=True)
    if {*ROWS} & {*parts}:
        with both_schemas(asked.scale) as both:
            # In this order: those who write come after those who read, and after the copy for the others.
            if "reads" in parts:
                print(f"\n{reads.measure(both, picture)}", flush=True)
            if "chat-peers" in parts:
                print(f"\n{chat_peers.measure(both)}", flush=True)
            if "writes" in parts:
                print(f"\n{writes.measure(both)}", flush=True)
    if "release" in parts:
        print(f"\n{release.measure(asked.scale)}", flush=True)
    print(f"\nMeasured in {(time.monotonic() - started) / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
