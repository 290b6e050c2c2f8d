"""Run as a program, in an environment of any package: do its operations, so many times as one is told, and time them.

Usage: python -P far_end.py SOURCE URL, where SOURCE is Python that defines `operations(url)`, an async context manager
whose value has an async function of a number for each operation's name. A request is a line of standard input, of a
name, the first number, and how many there are; the answer a line of standard output, of the seconds and the results.
"""

import asyncio
import json
import os
import sys
import time


async def main(source, url):
    # What a package prints must not stand beside the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    namespace = {"__name__": "far_end"}
    exec(compile(source, "<far end>", "exec"), namespace)
    async with namespace["operations"](url) as operations:
        # Nothing else runs in the loop while it waits for a line.
        for line in sys.stdin:
            name, first, times = json.loads(line)
            seconds, results = [], []
            for number in range(first, first + times):
                started = time.perf_counter()
                results.append(await operations[name](number))
                seconds.append(time.perf_counter() - started)
            os.write(answer, json.dumps([seconds, results]).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
