"""Runs every contestant in interleaved rounds and prints a Markdown table for each suite. See run.sh.

Usage: measure.py BINARY NATIVE DRAIN SERVER_AS_JSON FOLDER ROUNDS TABLES
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, ".."))

from harness import CORES, failure, interleave, machine, median, others, ratio, timed  # noqa: E402: it is found there

# Peers by goal, with the streams that they can read at once.
PEERS = {"duckdb": (1, 2), "connectorx": (1, 2), "polars": (1, 2), "adbc": (1,), "psycopg2": (1,)}
# It takes half a minute where the others take seconds.
SLOW, SLOW_ROUNDS = "psycopg2", 1


class Contestant:
    def __init__(self, who, table, goal, streams):
        self.who, self.table, self.goal, self.streams = who, table, goal, streams
        self.runs, self.failure, self.verdict, self.file_bytes = [], None, "", 0

    def command(self, work):
        out = f"{work}/out.parquet"
        streams = str(self.streams)
        if self.who == "psql":
            copy = f"copy {self.table} to stdout (format binary)"
            return ["sh", "-c", f"exec \"$@\" -c '{copy}' >/dev/null", "sh", *PSQL], out
        if self.goal == "nowhere":
            return [DRAIN, self.who, self.table, streams, str(SERVER["port"])], out
        if self.who == "native":
            os.mkdir(out)
            files = [out] if self.goal == "parquet" else []
            return [NATIVE, f"{URL}?sslmode=disable", self.table, streams, *files], out
        if self.who != "ours":
            return [sys.executable, f"{HERE}/peer.py", self.who, self.table, self.goal, streams, URL, out], out
        reader = {"connection_string": f"{URL}?sslmode=disable", "table": self.table}
        parquet = {"implementation": "parquet", "config": {"path": out, "compression": "snappy"}}
        writer = parquet if self.goal == "parquet" else {"implementation": "discard"}
        reader = {"type": "custom", "implementation": "postgres", "config": reader}
        job = {"tenant_id": "bench", "source": {"reader": reader}, "target": {"writer": {"type": "custom"} | writer}}
        with open(f"{work}/job.yaml", "w") as text:
            json.dump(job, text)
        return [BINARY, "run", f"{work}/job.yaml", "--json", "--parallelism", streams,
                "--state", f"sqlite://{work}/state.db"], out

    def run(self):
        if self.who == SLOW and len(self.runs) == SLOW_ROUNDS:
            return
        with tempfile.TemporaryDirectory(dir=FOLDER) as work:
            command, out = self.command(work)
            text, run = timed(command, work, server=SERVER["process"])
            if run["failed"]:
                self.failure = failure(text)
                return
            result = json.loads(text.splitlines()[-1]) if text else {}
            self.runs.append(run | {"rows": result.get("rows_read", result.get("rows"))})
            if self.goal == "parquet" and not self.verdict:
                self.verdict, self.file_bytes = verify(self.table, out), size(out)


def verify(table, out):
    command = [sys.executable, f"{HERE}/verify.py", table, out, json.dumps(PSQL), FOLDER]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else "WRONG: " + failure(done.stderr)


def size(out):
    if not os.path.isdir(out):
        return os.path.getsize(out)
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(out) for name in names)


def measure(table, rounds):
    limits = [Contestant("psql", table, "nowhere", 1)]
    limits += [Contestant(how, table, "nowhere", streams) for how in ("copy", "rows", "copy-out") for streams in (1, 2)]
    goals = [Contestant(who, table, goal, streams) for goal in ("arrow", "parquet") for streams in (1, 2)
             for who, able in ({"ours": (1, 2), "native": (1, 2)} | PEERS).items() if streams in able]
    everyone = limits + goals
    interleave(everyone, rounds, table)
    return everyone


def report(table, everyone):
    rows = statistics.mode(run["rows"] for contestant in everyone for run in contestant.runs if run["rows"])
    yield f"\n## {table} ({rows:,} rows)\n"
    yield f"Other processes used {others(everyone):.2f} cores meanwhile.\n"
    yield ("| to | streams | who | wall s | client CPU s | server CPU s | peak MiB | wall: ours / it | CPU: ours / it "
           "| MB | result |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for contestant in everyone:
        line = [contestant.goal, str(contestant.streams), contestant.who]
        if contestant.failure:
            yield f"| {' | '.join(line)} | | | | | | | | failed: {contestant.failure} |"
            continue
        line += [f"{median(contestant, key):.2f}" for key in ("wall", "cpu", "server")]
        line.append(f"{median(contestant, 'peak'):.0f}")
        # What is thrown away is compared with what becomes Arrow and is then thrown away.
        goal = "arrow" if contestant.goal == "nowhere" else contestant.goal
        ours = next(c for c in everyone if (c.who, c.goal, c.streams) == ("ours", goal, contestant.streams))
        line += [ratio(ours, contestant, key) for key in ("wall", "cpu")]
        line.append(f"{contestant.file_bytes / 1e6:.0f}" if contestant.file_bytes else "")
        wrong = {run["rows"] for run in contestant.runs} - {rows, None}
        line.append(f"WRONG: {wrong} rows" if wrong else contestant.verdict)
        yield f"| {' | '.join(line)} |"


*PROGRAMS, SERVER, FOLDER, rounds, tables = sys.argv[1:]
BINARY, NATIVE, DRAIN = map(os.path.abspath, PROGRAMS)
SERVER, tables = json.loads(SERVER), tables.split()
if len(CORES) < 2:
    sys.exit("the benchmark needs two cores")
PSQL = [f"{SERVER['bin']}/psql", "-h", "127.0.0.1", "-p", str(SERVER["port"]), "-U", "by_trust", "-d", "bench", "-Xq"]
URL = f"postgresql://by_trust@127.0.0.1:{SERVER['port']}/bench"
# The compiled components are cached from the second run on, as they are for everyone who runs twice.
for goal in ("parquet", "arrow"):
    Contestant("ours", tables[-1], goal, 1).run()
print(f"# Postgres\n\n{machine(BINARY, f'{HERE}/requirements.txt')}, PostgreSQL {SERVER['version']}.\n\nMedians of "
      f"interleaved rounds ({rounds}), each a whole process beside the server, on the same cores. A ratio is the median of "
      "the rounds' ratios; below 1, ours took less. `native` is our own host code called without components. `nowhere`: the "
      "bytes are read and thrown away, as COPY BINARY through psql, from the socket (`copy`), as binary rows (`rows`), or "
      "message by message through tokio-postgres (`copy-out`).", flush=True)
for table in tables:
    for line in report(table, measure(table, int(rounds))):
        print(line, flush=True)
