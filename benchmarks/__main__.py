"""Everything, as `make bench` prints it."""

from benchmarks import boot, contract, first_boot, imports, leases, race, resume, stalls, tables

print(tables.circumstances())
for part in (boot, first_boot, imports, race, leases, contract, stalls, resume):
    print(f"\n{part.measure()}", flush=True)
