"""Times commits to a bucket behind 20 ms: of many files, and of a table that many commits made. Usage: measure.py SERVERS FOLDER FILES PROGRAM..."""

import asyncio
import datetime
import json
import os
import statistics
import subprocess
import sys
import threading

facts, folder, files, programs = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
DELAY = 0.02
ROUNDS = 3
SNAPSHOTS = 100


async def pass_on(reader, writer, delay):
    while data := await reader.read(1 << 16):
        await asyncio.sleep(delay)
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(reader, writer):
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", facts["seaweedfs"])
    await asyncio.gather(pass_on(reader, server_writer, DELAY), pass_on(server_reader, writer, 0), return_exceptions=True)


def proxy():
    """The port of a proxy that holds back what comes from the client."""
    ready, port = threading.Event(), []

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    ready.wait()
    return port[0]


def run(program, name, target, port, source="rows"):
    """Seconds from the last row to the end of the commit."""
    job = {
        "tenant_id": "bench", "name": name, "parallelism": 1,
        "source": {"reader": {"type": "custom", "implementation": "csv", "config": {"file_path": f"{folder}/{source}.csv"}}},
        "target": target,
    }
    with open(f"{folder}/{name}.yaml", "w") as out:
        json.dump(job, out)
    command = [program, "run", f"{folder}/{name}.yaml", "--json", "--log", "json", "--state", f"sqlite://{folder}/{name}.db"]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"})
    report = json.loads(ended.stdout)
    assert report["status"] == "success" and report["rows_written"] == files, report["error"]
    times = {}
    for line in ended.stderr.splitlines():
        event = json.loads(line)
        times[event.get("event") or event.get("fields", {}).get("event")] = datetime.datetime.fromisoformat(event["timestamp"])
    return (times["commit_success"] - times["extraction_complete"]).total_seconds()


def many_files(program, name):
    """A commit that publishes as many files as there are rows."""
    writer = {"type": "custom", "implementation": "parquet", "config": {"path": f"s3://data/{name}", "partition_by": ["part"]}}
    return run(program, name, {"writer": writer}, slow)


def many_snapshots(program, name):
    """A commit that looks for its keys in what as many commits as there are snapshots added, and finds none."""
    target = {"warehouse": f"s3://data/{name}", "namespace": "bench", "table": "rows", "catalog": {"type": "sql", "uri": f"sqlite:///{folder}/{name}-catalog.db"}}
    for number in range(SNAPSHOTS):
        run(program, f"{name}-{number}", target, facts["seaweedfs"])
    return run(program, f"{name}-last", target | {"mode": "upsert", "key": ["id"]}, slow, "new")


os.environ.update(AWS_ACCESS_KEY_ID="testkey", AWS_SECRET_ACCESS_KEY="testsecret", AWS_REGION="us-east-1")
slow = proxy()
for source, first in [("rows", 0), ("new", files)]:
    with open(f"{folder}/{source}.csv", "w") as rows:
        rows.write("id,part\n" + "".join(f"{n},p{n:05}\n" for n in range(first, first + files)))
print(f"Commits whose every request is delayed by {DELAY * 1000:.0f} ms, medians of {ROUNDS} rounds in turns:")
for what, measure in [(f"{files} files", many_files), (f"upsert into a table of {SNAPSHOTS} snapshots", many_snapshots)]:
    found = {program: [] for program in programs}
    for number in range(ROUNDS):
        for at, program in enumerate(programs):
            found[program].append(measure(program, f"{measure.__name__.replace('_', '-')}-{at}-{number}"))
    for program, times in found.items():
        print(f"{what}: {statistics.median(times):.2f} s  {program}", flush=True)
