"""Runs every contestant in interleaved rounds and prints a Markdown table for each suite. See run.sh.

Usage: measure.py BINARY DATA_FOLDER ROUNDS LINEITEM_SCALE

This process imports nothing large: Linux counts the memory of the process that starts another towards the peak of
the one that is started.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(HERE, "../../tests/support")
sys.path.append(SUPPORT)

from tables import schema, table  # noqa: E402: it is found there

PEERS = ["polars", "duckdb", "pyarrow_read", "pyarrow_stream"]
CORES = sorted(os.sched_getaffinity(0))


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

    def run(self, data):
        """Once, on as many cores as it has threads: nobody uses another one in passing."""
        with tempfile.TemporaryDirectory(dir=data) as work, open(f"{work}/answer", "w+") as answer:
            command, out = self.command(work)
            os.sched_setaffinity(0, CORES[: self.threads])
            environment = os.environ | {"POLARS_MAX_THREADS": str(self.threads)}
            busy, start = machine_busy(), time.monotonic()
            process = subprocess.Popen(command, stdout=answer, stderr=subprocess.STDOUT, cwd=work, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu = usage.ru_utime + usage.ru_stime
            others = max(0.0, machine_busy() - busy - cpu)
            os.sched_setaffinity(0, CORES)
            answer.seek(0)
            text = answer.read().strip()
            if process.returncode != 0:
                self.failure = failure(text)
                return
            result = json.loads(text.splitlines()[-1])
            self.runs.append({"wall": wall, "cpu": cpu, "peak": usage.ru_maxrss / 1024, "others": others,
                              "rows": result.get("rows_read", result.get("rows"))})
            if self.goal == "parquet" and not self.verdict:
                self.verdict = verify(self.suite, out)


def failure(text):
    lines = text.splitlines() or ["no output"]
    try:
        answer = json.loads(lines[-1])
        lines = [(answer.get("errors") or [answer["error"]])[0]["message"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [line for line in lines if "rror" in line][-1:] or lines[-1:]
    return lines[0][:160]


def verify(suite, out):
    name, kind, file = suite
    command = [sys.executable, f"{SUPPORT}/verify.py", name, kind, file.removesuffix(".gz"), out]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else "WRONG: " + failure(done.stderr)


def machine_busy():
    """Processor seconds that the whole machine has worked."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(suite, rounds, data):
    everyone = [Contestant(who, suite, goal, threads)
                for goal in ("arrow", "parquet") for threads in (1, 2) for who in ["ours", *PEERS]]
    for number in range(rounds):
        turn = number * len(everyone) // rounds
        for contestant in everyone[turn:] + everyone[:turn]:
            if not contestant.failure:
                contestant.run(data)
        print(f"{suite[0]} {suite[1]} {os.path.basename(suite[2])}: round {number + 1} of {rounds}", file=sys.stderr)
    return everyone


def report(suite, everyone):
    name, kind, file = suite
    runs = [run for contestant in everyone for run in contestant.runs]
    counts = [run["rows"] for run in runs]
    rows = statistics.mode(counts) if counts else 0
    others = sum(run["others"] for run in runs) / max(1e-9, sum(run["wall"] for run in runs))
    yield f"\n## {os.path.basename(file)}, {kind} ({rows:,} rows, {os.path.getsize(file) / 1e6:,.0f} MB)\n"
    yield f"Other processes used {others:.2f} cores meanwhile.\n"
    yield "| to | threads | who | wall s | CPU s | peak MiB | wall: ours / it | CPU: ours / it | result |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for contestant in everyone:
        line = ["Arrow" if contestant.goal == "arrow" else "Parquet", str(contestant.threads), contestant.who]
        if contestant.failure:
            yield f"| {' | '.join(line)} | | | | | | failed: {contestant.failure} |"
            continue
        middle = {key: statistics.median(run[key] for run in contestant.runs) for key in ("wall", "cpu", "peak")}
        line += [f"{middle['wall']:.2f}", f"{middle['cpu']:.2f}", f"{middle['peak']:.0f}"]
        ours = next(c for c in everyone
                    if (c.who, c.goal, c.threads) == ("ours", contestant.goal, contestant.threads))
        for key in ("wall", "cpu"):
            ratios = [mine[key] / its[key] for mine, its in zip(ours.runs, contestant.runs)]
            line.append(f"{statistics.median(ratios):.2f}" if ratios and ours is not contestant else "")
        wrong = {run["rows"] for run in contestant.runs} - {rows}
        line.append(f"WRONG: {wrong} rows" if wrong else contestant.verdict)
        yield f"| {' | '.join(line)} |"


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open(f"{HERE}/requirements.txt") as file:
        pins = file.read().split()
    ours = subprocess.run([BINARY, "--version"], capture_output=True, text=True).stdout.strip()
    system = f"{len(CORES)} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {system}; {ours}, {', '.join(pins)}"


BINARY, data, rounds, scale = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if len(CORES) < 2:
    sys.exit("the benchmark needs two cores")
big, gzipped, flights = f"{data}/lineitem-{scale}.csv", f"{data}/lineitem-0.2.csv.gz", f"{data}/flights.csv"
suites = [("lineitem", "typed", big), ("lineitem", "inferred", big), ("lineitem", "typed", gzipped),
          ("flights", "typed", flights), ("flights", "inferred", flights)]
# The compiled components are cached from the second run on, as they are for everyone who runs twice.
Contestant("ours", suites[-1], "parquet", 2).run(data)
Contestant("ours", suites[-1], "arrow", 2).run(data)
print(f"# CSV\n\n{machine()}.\n\nMedians of interleaved rounds ({rounds}), each a whole process held to as many cores as it "
      "has threads. A ratio is the median of the rounds' ratios; below 1, ours took less.", flush=True)
for suite in suites:
    for line in report(suite, measure(suite, rounds, data)):
        print(line, flush=True)
