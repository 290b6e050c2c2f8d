"""Run as a program, in a fresh interpreter of any environment: boot once per url, and say what it cost.

Usage: python -P subject.py SOURCE URL…, where SOURCE is Python that defines `boot(url)`.
The first boot is part of the process; those after it have all imports behind them and are timed one by one.
"""

import sys

KNOWN = set(sys.modules)

import os  # noqa: E402  # what is imported below is not the boot's
import resource  # noqa: E402
import time  # noqa: E402


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main(source, first, *others):
    # What a peer prints must not stand beside the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    report = {"error": None, "modules": 0, "alembic": False, "calls": []}
    namespace = {"__name__": "subject"}
    try:
        exec(compile(source, "<subject>", "exec"), namespace)
        namespace["boot"](first)
        report["modules"] = len(set(sys.modules) - KNOWN - {"resource"})
        report["alembic"] = "alembic" in sys.modules
        for url in others:
            cpu, wall = cpu_seconds(), time.perf_counter()
            namespace["boot"](url)
            report["calls"].append([cpu_seconds() - cpu, time.perf_counter() - wall])
    except BaseException as error:  # noqa: BLE001  # a program may end in whatever way it likes
        import traceback

        traceback.print_exc()
        report["error"] = type(error).__name__
    import json

    os.write(answer, json.dumps(report).encode())
    return 1 if report["error"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
