"""Runs every contestant in interleaved rounds and prints a Markdown table for each suite. See run.sh.

Usage: measure.py BINARY DATA_FOLDER ROUNDS LINEITEM_SCALE
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "../../tests/support")
sys.path += [SUPPORT, os.path.join(HERE, "..")]

from harness import CORES, failure, interleave, machine, median, others, ratio, timed  # noqa: E402
from tables import schema, table  # noqa: E402: they are found there

PEERS = ["polars", "duckdb", "pyarrow_read", "pyarrow_stream"]


class Contestant:
    def __init__(self, who, suite, goal, threads):
        self.who, self.suite, self.goal, self.threads = who, suite, goal, threads
        self.runs, self.failure, self.verdict = [], None, ""

    def command(self, work):
        name, kind, file = self.suite
        out = os.path.join(work, "out.parquet")
        if self.who != "ours":
            peer = [sys.executable, f"{HERE}/peer.py", self.who, name, kind, self.goal]
            return [*peer, str(self.threads), file, out], out
        reader = {"file_path": file, "null_values": table(name)["nulls"]}
        if kind == "typed":
            reader["schema"] = schema(name)
        parquet = {"implementation": "parquet", "config": {"path": out, "compression": "snappy"}}
        writer = parquet if self.goal == "parquet" else {"implementation": "discard"}
        job = {"tenant_id": "bench", "source": {"reader": {"type": "custom", "implementation": "csv", "config": reader}},
               "target": {"writer": {"type": "custom"} | writer}}
        with open(f"{work}/job.yaml", "w") as text:
            json.dump(job, text)
        return [BINARY, "run", f"{work}/job.yaml", "--json", "--parallelism", str(self.threads),
                "--state", f"sqlite://{work}/state.db"], out

    def run(self):
        """Once, on as many cores as it has threads: nobody uses another one in passing."""
        with tempfile.TemporaryDirectory(dir=DATA) as work:
            command, out = self.command(work)
            text, run = timed(command, work, self.threads, {"POLARS_MAX_THREADS": str(self.threads)})
            if run["failed"]:
                self.failure = failure(text)
                return
            result = json.loads(text.splitlines()[-1])
            self.runs.append(run | {"rows": result.get("rows_read", result.get("rows"))})
            if self.goal == "parquet" and not self.verdict:
                self.verdict = verify(self.suite, out)


def verify(suite, out):
    name, kind, file = suite
    command = [sys.executable, f"{SUPPORT}/verify.py", name, kind, file.removesuffix(".gz"), out]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else "WRONG: " + failure(done.stderr)


def measure(suite, rounds):
    everyone = [Contestant(who, suite, goal, threads)
                for goal in ("arrow", "parquet") for threads in (1, 2) for who in ["ours", *PEERS]]
    interleave(everyone, rounds, f"{suite[0]} {suite[1]} {os.path.basename(suite[2])}")
    return everyone


def report(suite, everyone):
    name, kind, file = suite
    counts = [run["rows"] for contestant in everyone for run in contestant.runs]
    rows = statistics.mode(counts) if counts else 0
    yield f"\n## {os.path.basename(file)}, {kind} ({rows:,} rows, {os.path.getsize(file) / 1e6:,.0f} MB)\n"
    yield f"Other processes used {others(everyone):.2f} cores meanwhile.\n"
    yield "| to | threads | who | wall s | CPU s | peak MiB | wall: ours / it | CPU: ours / it | result |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for contestant in everyone:
        line = ["Arrow" if contestant.goal == "arrow" else "Parquet", str(contestant.threads), contestant.who]
        if contestant.failure:
            yield f"| {' | '.join(line)} | | | | | | failed: {contestant.failure} |"
            continue
        line += [f"{median(contestant, 'wall'):.2f}", f"{median(contestant, 'cpu'):.2f}",
                 f"{median(contestant, 'peak'):.0f}"]
        ours = next(c for c in everyone
                    if (c.who, c.goal, c.threads) == ("ours", contestant.goal, contestant.threads))
        line += [ratio(ours, contestant, key) for key in ("wall", "cpu")]
        wrong = {run["rows"] for run in contestant.runs} - {rows}
        line.append(f"WRONG: {wrong} rows" if wrong else contestant.verdict)
        yield f"| {' | '.join(line)} |"


BINARY, DATA, rounds, scale = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if len(CORES) < 2:
    sys.exit("the benchmark needs two cores")
big, gzipped, flights = f"{DATA}/lineitem-{scale}.csv", f"{DATA}/lineitem-0.2.csv.gz", f"{DATA}/flights.csv"
suites = [("lineitem", "typed", big), ("lineitem", "inferred", big), ("lineitem", "typed", gzipped),
          ("flights", "typed", flights), ("flights", "inferred", flights)]
# The compiled components are cached from the second run on, as they are for everyone who runs twice.
for goal in ("parquet", "arrow"):
    Contestant("ours", suites[-1], goal, 2).run()
print(f"# CSV\n\n{machine(BINARY, f'{HERE}/requirements.txt')}.\n\nMedians of interleaved rounds ({rounds}), each a whole "
      "process held to as many cores as it has threads. A ratio is the median of the rounds' ratios; below 1, ours took "
      "less.", flush=True)
for suite in suites:
    for line in report(suite, measure(suite, rounds)):
        print(line, flush=True)
