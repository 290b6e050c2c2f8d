"""Everything, as `make bench` prints it."""

from benchmarks import boot, contract, first_boot, imports, leases, race, tables

print(tables.circumstances())
for part in (boot, first_boot, imports, race, leases, contract):
    print(f"\n{part.measure()}", flush=True)
