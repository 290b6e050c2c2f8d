"""The program that `nest.run_code` runs: the text in its first argument."""

import sys

if __name__ == "__main__":
    code = compile(sys.argv.pop(1), "<text>", "exec")
    exec(code, {"__name__": "__main__"})
