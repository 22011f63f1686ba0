"""How long a tenant's runs take while another tenant attacks, beside the same runs in quiet. Usage: neighbour.py BINARY PLUGINS"""

import os
import statistics
import sys
import tempfile
import time

from measure import Serving

binary, plugins = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])

SMALL = """tenant_id: acme
parallelism: 1
limits: {{ memory: 64MiB }}
source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: {file} }} }} }}
target: {{ writer: {{ type: custom, implementation: parquet, config: {{ path: out/{name} }} }} }}
"""
HOSTILE = """tenant_id: other
parallelism: 1
limits: {{ memory: 64MiB, cpu_per_call: 10m, deadline: 10m }}
source: {{ reader: {{ type: custom, implementation: hostile, config: {{ attack: {attack} }} }} }}
target: {{ writer: {{ type: custom, implementation: discard }} }}
{schedule}
"""
ROUNDS = 3

# Four at a time go on until they are stopped; what ends at once begins again every second.
ATTACKS = {
    "endless loops": ("endless-loop", ""),
    "endless rows": ("endless-rows", ""),
    "memory bombs": ("memory-bomb", "schedule: { interval: every 1s }"),
    "floods of logs": ("log-flood", "schedule: { interval: every 1s }"),
}


def write(file, text):
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w") as out:
        out.write(text)


def run(serving, connection, name):
    """The time that a run took, in ms."""
    time.sleep(0.05)
    return serving.run(connection, f"acme/{name}")[0]


def measure(serving, connection):
    """Median times of small and of large runs. Each reads everything: a new state store each time would be another job."""
    small = statistics.median(run(serving, connection, f"small-{n}") for n in range(measure.at, measure.at + 30))
    large = statistics.median(run(serving, connection, f"large-{n}") for n in range(measure.at, measure.at + 5))
    measure.at += 30
    return small, large


measure.at = 0


def attacked(serving, connection, attack, schedule):
    """[`measure`], beside four jobs of another tenant."""
    names = [f"{attack}-{n}" for n in range(4)]
    for name in names:
        write(f"{folder}/jobs/other/{name}.yaml", HOSTILE.format(attack=attack, schedule=schedule))
    time.sleep(3)
    runs = [] if schedule else [serving.ask(connection, "POST", f"/api/v1/jobs/other/{name}/runs")[1] for name in names]
    time.sleep(1)
    before = time.monotonic()
    times = measure(serving, connection)
    for one in runs:
        state = serving.ask(connection, "GET", f"/api/v1/runs/{one['run_id']}")[1]["status"]
        assert state == "running", f"an attack ended: {state}"
    began = [at for at, run in list(serving.ended.values()) if at > before and run["tenant"] == "other"]
    assert runs or began, "nobody attacked"
    for name in names:
        os.remove(f"{folder}/jobs/other/{name}.yaml")
    for one in runs:
        serving.ask(connection, "POST", f"/api/v1/runs/{one['run_id']}/cancel")
    time.sleep(3)
    return times


with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/small.csv", "w") as rows:
        rows.write("id,name\n" + "".join(f"{i},n{i}\n" for i in range(10)))
    with open(f"{folder}/large.csv", "w") as rows:
        rows.write("id,name,value\n" + "".join(f"{i},name-{i % 1000},{i * 7 % 100003}.25\n" for i in range(1_000_000)))
    for n in range(30 * 2 * ROUNDS * len(ATTACKS)):
        for size in ["small", "large"]:
            if size == "small" or n % 30 < 5:
                write(f"{folder}/jobs/acme/{size}-{n}.yaml", SMALL.format(file=f"{size}.csv", name=f"{size}-{n}"))
    serving = Serving(folder, binary, ["--plugins", plugins])
    connection = serving.connect()
    print(f"\nMedians of {ROUNDS} rounds in turns.\n\n| the other tenant has | 10 rows: quiet, ms | attacked, ms | ratio | "
          "1,000,000 rows: quiet, ms | attacked, ms | ratio |\n|---|---|---|---|---|---|---|")
    for what, (attack, schedule) in ATTACKS.items():
        rounds = [(measure(serving, connection), attacked(serving, connection, attack, schedule)) for _ in range(ROUNDS)]
        cells = []
        for size in range(2):
            quiet, beside = (statistics.median(times[which][size] for times in rounds) for which in range(2))
            cells.append(f"{quiet:.1f} | {beside:.1f} | {beside / quiet:.2f}")
        print(f"| {what} | {cells[0]} | {cells[1]} |", flush=True)
    serving.stop()
