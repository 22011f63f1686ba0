"""Runs one CSV into S3: as plain Parquet, and encrypted in each format, in turns. Prints ratios to the plain job.

measure.py SERVERS FOLDER GIGABYTES TPCHGEN
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

import boto3

facts, folder, gigabytes, tpchgen = json.loads(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
ROUNDS = int(os.environ.get("ROUNDS", "3"))
program = os.path.abspath("target/release/dativo-wasm")

os.environ.update(
    AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{facts['seaweedfs']}",
    AWS_ENDPOINT_URL_KMS=f"http://127.0.0.1:{facts['moto']}",
    AWS_ACCESS_KEY_ID="testkey",
    AWS_SECRET_ACCESS_KEY="testsecret",
    AWS_REGION="us-east-1",
    AWS_DEFAULT_REGION="us-east-1",
)
s3, key = boto3.client("s3"), boto3.client("kms").create_key()["KeyMetadata"]["Arn"]

csv = os.path.join(folder, "lineitem.csv")
with open(csv, "wb") as file:
    # A scale of 1 is 0.75 GB.
    command = [tpchgen, "csv", "-s", str(round(gigabytes / 0.75, 3)), "-T", "lineitem", "--stdout", "-q", "-n", "1"]
    subprocess.run(command, stdout=file, check=True)
print(f"{os.path.getsize(csv) / 2**30:.2f} GiB of CSV (TPC-H lineitem), {ROUNDS} rounds in turns, {os.cpu_count()} cores", flush=True)


def job(name, number):
    if name == "plain":
        return {"implementation": "parquet", "config": {"path": f"s3://data/{name}-{number}", "target_file_size": "32MiB"}}
    config = {"s3_bucket": "data", "s3_prefix": f"{name}-{number}", "kms_key_id": key, "format": name}
    return {"implementation": "encrypted-s3", "config": config}


def run(name, splits, number):
    spec = {
        "tenant_id": "bench",
        "source": {"reader": {"type": "custom", "implementation": "csv", "config": {"file_path": csv}}},
        "target": {"writer": {"type": "custom", **job(name, number)}},
    }
    path = os.path.join(folder, f"{name}-{number}.yaml")
    with open(path, "w") as file:
        json.dump(spec, file)
    state = f"sqlite://{folder}/{name}-{number}.db"
    command = [program, "run", path, "--json", "--parallelism", str(splits), "--state", state]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    output = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    seconds, after = time.time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(output.stdout)
    assert report["status"] == "success", report["error"]
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    prefix = f"{name}-{number}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix=prefix):
        for found in page.get("Contents", []):
            s3.delete_object(Bucket="data", Key=found["Key"])
    return cpu, seconds, report["peak_memory_bytes"] / 2**20, report["bytes_written"] / 2**30


for splits in (1, 2):
    found = {name: [] for name in ("plain", "v0", "v1", "parquet")}
    for number in range(ROUNDS):
        for name in found:
            found[name].append(run(name, splits, f"{splits}-{number}"))
    plain = statistics.median(cpu for cpu, *_ in found["plain"])
    print(f"\n{splits} split{'s' if splits > 1 else ''}\n{'':10}{'CPU s':>8}{'x plain':>9}{'wall s':>8}{'peak MiB':>10}{'GiB up':>8}")
    for name, rounds in found.items():
        cpu, seconds, peak, up = (statistics.median(column) for column in zip(*rounds))
        print(f"{name:10}{cpu:8.1f}{cpu / plain:9.3f}{seconds:8.1f}{peak:10.0f}{up:8.2f}", flush=True)
