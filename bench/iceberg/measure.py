"""Runs everyone in turns and prints a Markdown table. Usage: measure.py BINARY PORT FOLDER ROUNDS"""

import glob
import json
import os
import shutil
import sys
import tempfile

import pyarrow.parquet

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import harness

binary, port, home, rounds = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
url = f"postgresql://by_trust@127.0.0.1:{port}/bench?sslmode=disable"
peer = os.path.abspath("bench/iceberg/peer.py")
requirements = os.path.abspath("bench/iceberg/requirements.txt")


class Contestant:
    def __init__(self, name):
        self.name, self.runs, self.failure, self.rows = name, [], None, None

    def command(self, work):
        if self.name != "dativo-wasm":
            return [sys.executable, peer, self.name, url, work]
        job = {
            "tenant_id": "bench", "parallelism": 2,
            "source": {"reader": {"type": "custom", "implementation": "postgres",
                                  "config": {"connection_string": url, "table": "lineitem"}}},
            "target": {"warehouse": f"{work}/lake", "namespace": "bench", "table": "lineitem"},
        }
        with open(f"{work}/job.yaml", "w") as file:
            json.dump(job, file)
        return [binary, "run", "job.yaml", "--json"]

    def run(self):
        work = tempfile.mkdtemp(dir=home)
        answer, run = harness.timed(self.command(work), work)
        if run["failed"]:
            self.failure = harness.failure(answer)
            return
        files = glob.glob(f"{work}/lake/**/*.parquet", recursive=True)
        rows = sum(pyarrow.parquet.read_metadata(file).num_rows for file in files if "_dlt" not in file.split("/lake/")[1])
        run["files"] = sum(os.path.getsize(file) for file in files) / 2**20
        if self.rows not in (None, rows):
            self.failure = f"{rows} rows after {self.rows}"
        self.rows = rows
        self.runs.append(run)
        shutil.rmtree(work)


everyone = [Contestant(name) for name in ("dativo-wasm", "pyiceberg", "dlt")]
harness.interleave(everyone, rounds, "lineitem")
ours = everyone[0]
if ours.failure:
    raise SystemExit(ours.failure)
print(f"PostgreSQL -> Iceberg, TPC-H lineitem, {ours.rows:,} rows; medians of {rounds} rounds in turns.\n")
print(f"{harness.machine(binary, requirements)}\n")
print("| | wall s | its wall / ours | CPU s | peak MiB | files MiB | rows |\n|---|---|---|---|---|---|---|")
for contestant in everyone:
    if contestant.failure:
        print(f"| {contestant.name} | failed: {contestant.failure} | | | | | |")
        continue
    numbers = [harness.median(contestant, key) for key in ("wall", "cpu", "peak", "files")]
    wall, cpu, peak, files = numbers
    ratio = harness.ratio(contestant, ours, "wall")
    print(f"| {contestant.name} | {wall:.1f} | {ratio} | {cpu:.1f} | {peak:.0f} | {files:.0f} | {contestant.rows:,} |")
print(f"\nOther processes took {harness.others(everyone):.2f} cores meanwhile.")
