"""Measures a process that serves. Usage: measure.py BINARY JOBS RUNS"""

import concurrent.futures
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

JOB = """tenant_id: {tenant}
name: job-{number}
schedule: {{ interval: "17 3 * * *", jitter: 10m }}
parallelism: 1
limits: {{ memory: 32MiB }}
source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: rows.csv }} }} }}
target: {{ writer: {{ type: custom, implementation: discard }} }}
"""


class Serving:
    def __init__(self, folder, binary, more=()):
        with open(f"{folder}/log", "w") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--jobs", "jobs", "--listen", "127.0.0.1:0", "--summaries", "summaries.jsonl", *more], cwd=folder, stderr=log)
        began = time.monotonic()
        line = None
        while not line:
            if self.process.poll() is not None:
                raise SystemExit("serve ended")
            with open(f"{folder}/log") as log:
                line = re.search(r"serving at http://([^/]+)/#token=(\w+)\n", log.read())
            time.sleep(0.001)
        self.ready = time.monotonic() - began
        self.address, self.token = line.groups()
        self.ended = {}
        threading.Thread(target=self.follow, args=(f"{folder}/summaries.jsonl",), daemon=True).start()

    def follow(self, file):
        """Notes when the summary of each run comes, which is its end. To ask for it over HTTP would be to measure the limit of requests."""
        line = ""
        with open(file) as lines:
            while True:
                line += lines.readline()
                if line.endswith("\n"):
                    summary = json.loads(line)
                    self.ended[summary["run_id"]] = (time.monotonic(), summary)
                    line = ""
                else:
                    time.sleep(0.0002)

    def connect(self):
        return http.client.HTTPConnection(self.address)

    def ask(self, connection, method, path):
        connection.request(method, path, headers={"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 429:
            time.sleep(0.05)
            return self.ask(connection, method, path)
        return answer.status, json.loads(body or "null")

    def run(self, connection, job):
        """Asks for a run of `TENANT/JOB` and waits for its end: the time from asking, in ms, and its summary."""
        began = time.monotonic()
        status, answer = self.ask(connection, "POST", f"/api/v1/jobs/{job}/runs")
        assert status == 202, answer
        while answer["run_id"] not in self.ended:
            assert time.monotonic() - began < 60, "a run does not end"
            time.sleep(0.0002)
        ended, summary = self.ended.pop(answer["run_id"])
        assert summary["status"] == "success", summary
        return (ended - began) * 1000, summary

    def resident(self):
        """In KiB, once it is at rest."""
        time.sleep(3)
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def prepare(folder, count):
    os.mkdir(f"{folder}/jobs")
    with open(f"{folder}/rows.csv", "w") as rows:
        rows.write("id,name\n" + "".join(f"{i},n{i}\n" for i in range(10)))
    tenants = max(1, count // 10)
    for number in range(count):
        tenant = f"t{number % tenants}"
        os.makedirs(f"{folder}/jobs/{tenant}", exist_ok=True)
        with open(f"{folder}/jobs/{tenant}/{number}.yaml", "w") as job:
            job.write(JOB.format(tenant=tenant, number=number))
    return tenants


def one(serving, connection, tenant, number):
    """From asking for a run to its end, and the time that the run itself took, in ms."""
    time.sleep(0.02)
    took, summary = serving.run(connection, f"{tenant}/job-{number}")
    assert summary["rows_written"] in (0, 10), summary
    return took, summary["duration_ms"]


def spread(values):
    cuts = statistics.quantiles(values, n=100)
    return f"{cuts[49]:.1f} | {cuts[98]:.1f}"


def main(binary, jobs, runs):
    assert jobs >= 2 * runs + 20, "each run is of another job"
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, 0)
        empty = Serving(folder, binary)
        without = empty.resident()
        empty.stop()
    with tempfile.TemporaryDirectory() as folder:
        tenants = prepare(folder, jobs)
        serving = Serving(folder, binary)
        idle = serving.resident()
        print(f"`serve` with {jobs:,} jobs of {tenants:,} tenants on {os.cpu_count()} cores: ready in {serving.ready:.1f} s, "
              f"{(idle - without) / jobs:.1f} KiB for each idle job ({without / 1024:.0f} MiB without jobs, {idle / 1024:.0f} MiB with).\n")
        connection = serving.connect()
        for number in range(20):
            one(serving, connection, f"t{number % tenants}", number)
        alone = [one(serving, connection, f"t{n % tenants}", n) for n in range(20, 20 + runs)]

        def some(worker):
            own = serving.connect()
            return [one(serving, own, f"t{n % tenants}", n) for n in range(20 + runs + worker, 20 + 2 * runs, 4)]

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            together = [taken for list_ in pool.map(some, range(4)) for taken in list_]
        rate = len(together) / (time.monotonic() - began)
        serving.stop()
        print("| ms | p50 | p99 |\n|---|---|---|")
        print(f"| from asking to the end, one run at a time | {spread([total for total, _ in alone])} |")
        print(f"| of that, outside of the run | {spread([total - own for total, own in alone])} |")
        print(f"| from asking to the end, four at a time ({rate:.0f} runs/s) | {spread([total for total, _ in together])} |")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
