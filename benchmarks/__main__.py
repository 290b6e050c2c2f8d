"""Everything, as `make bench` prints it."""

from benchmarks import boot, first_boot, imports, race, tables

print(tables.circumstances())
for part in (boot, first_boot, imports, race):
    print(f"\n{part.measure()}", flush=True)
