"""Runs every contestant in interleaved rounds against one nginx and prints a Markdown table. See run.sh.

Usage: measure.py BINARY FOLDER ROUNDS PAGES URL
"""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, ".."))

from harness import failure, interleave, machine, median, others, ratio, timed  # noqa: E402

# `ours typed` has its columns from the job, and infers none. `sandbox` is a component of ours that is handed the text of each
# page and decodes it itself; it knows the columns, so it is to be held against `ours typed`.
OURS = ["ours", "ours typed", "sandbox"]
PEERS = ["requests", "orjson", "dlt"]
SCHEMA = {"id": "int64", "customer_id": "int64", "status": "string", "amount": "number", "ratio": "number", "is_new": "bool",
          "title": "string", "note": "string", "updated_at": "string", "address": {"city": "string", "zip": "string"}}
# What all of them must have written, whatever they call a nested column. Of floats every bit counts: a sum would not tell.
CHECK = """
select count(*), count(distinct id), sum(customer_id)::bigint, sum(hash(id, amount, ratio)::hugeint)::varchar,
       count(*) filter (is_new), count(note), sum(hash(id, status, title, note)::hugeint)::varchar
from read_parquet('{}/**/*.parquet', union_by_name = true)
"""


class Contestant:
    def __init__(self, who):
        self.who = who
        self.runs, self.failure, self.found = [], None, None

    def command(self, work):
        out = f"{work}/out"
        if self.who not in OURS:
            return [sys.executable, f"{HERE}/peer.py", self.who, URL, out]
        reader = {"implementation": "rest", "config": {
            "api_url": URL, "page_size": 100, "rate_limit_rps": 1_000_000, "resume": False}}
        if self.who == "ours typed":
            reader["config"]["schema"] = SCHEMA
        if self.who == "sandbox":
            reader = {"implementation": "textual", "config": {"api_url": URL}, "grants": {"http": [f"GET {URL}"]}}
        job = {"tenant_id": "bench", "source": {"reader": reader},
               "target": {"writer": {"implementation": "parquet", "config": {"path": out}}}}
        with open(f"{work}/job.yaml", "w") as text:
            json.dump(job, text)
        return [BINARY, "run", f"{work}/job.yaml", "--json", "--state", f"sqlite://{work}/state.db",
                "--plugins", f"{HERE}/../../guests/dist/test"]

    def run(self):
        with tempfile.TemporaryDirectory(dir=FOLDER) as work:
            environment = {"RUNTIME__DLTHUB_TELEMETRY": "false", "HOME": work} if self.who == "dlt" else {}
            text, run = timed(self.command(work), work, environment=environment)
            if run["failed"]:
                self.failure = failure(text)
                return
            result = json.loads(text.splitlines()[-1])
            self.runs.append(run | {"rows": result.get("rows_read", result.get("rows"))})
            if self.found is None:
                self.found = check(f"{work}/out")


def check(out):
    # dlt keeps its own tables beside the data.
    folder = f"{out}/api/orders" if os.path.isdir(f"{out}/api") else out
    script = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()[0], default=str))"
    done = subprocess.run([sys.executable, "-c", script, CHECK.format(folder)], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else failure(done.stderr)


BINARY, FOLDER, rounds, pages, URL = sys.argv[1:]
everyone = [Contestant(who) for who in OURS + PEERS]
# The compiled components are cached from the second run on, as they are for everyone who runs twice.
for contestant in everyone[:len(OURS)]:
    contestant.run()
    contestant.runs.clear()
interleave(everyone, int(rounds), "rest")
print(f"# REST\n\n{machine(BINARY, f'{HERE}/requirements.txt')}.\n")
print(f"{int(pages):,} pages of 100 records from nginx on this machine into Parquet. Medians of interleaved rounds ({rounds}), "
      "each a whole process. CPU is that of the client. A ratio is the median of the rounds' ratios. Other processes, nginx "
      f"among them, used {others(everyone):.2f} cores meanwhile.\n")
print("| who | wall s | CPU s | rows/s | peak MiB | wall: it / ours | CPU: it / ours | result |")
print("|---|---|---|---|---|---|---|---|")
ours = everyone[0]
for contestant in everyone:
    if contestant.failure:
        print(f"| {contestant.who} | | | | | | | failed: {contestant.failure} |")
        continue
    rows = contestant.runs[0]["rows"]
    verdict = "the same" if contestant.found == ours.found else f"WRONG: {contestant.found}, not {ours.found}"
    cells = [contestant.who, f"{median(contestant, 'wall'):.2f}", f"{median(contestant, 'cpu'):.2f}",
             f"{rows / median(contestant, 'wall'):,.0f}", f"{median(contestant, 'peak'):.0f}",
             ratio(contestant, ours, "wall"), ratio(contestant, ours, "cpu"), verdict]
    print(f"| {' | '.join(cells)} |")
print(f"\nResult: {ours.found}")
