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

PEERS = ["requests", "orjson", "dlt"]
# What all of them must have written, whatever they call a nested column.
CHECK = """
select count(*), count(distinct id), sum(customer_id)::bigint, round(sum(amount), 2), round(sum(ratio), 6),
       count(*) filter (is_new), count(note), sum(length(title))::bigint
from read_parquet('{}/**/*.parquet', union_by_name = true)
"""


class Contestant:
    def __init__(self, who):
        self.who = who
        self.runs, self.failure, self.found = [], None, None

    def command(self, work):
        out = f"{work}/out"
        if self.who != "ours":
            return [sys.executable, f"{HERE}/peer.py", self.who, URL, out]
        reader = {"api_url": URL, "page_size": 100, "rate_limit_rps": 1_000_000, "resume": False}
        job = {"tenant_id": "bench", "source": {"reader": {"implementation": "rest", "config": reader}},
               "target": {"writer": {"implementation": "parquet", "config": {"path": out}}}}
        with open(f"{work}/job.yaml", "w") as text:
            json.dump(job, text)
        return [BINARY, "run", f"{work}/job.yaml", "--json", "--state", f"sqlite://{work}/state.db"]

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
everyone = [Contestant(who) for who in ["ours", *PEERS]]
# The compiled components are cached from the second run on, as they are for everyone who runs twice.
everyone[0].run()
everyone[0].runs.clear()
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
