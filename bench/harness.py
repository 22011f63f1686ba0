"""What the benchmarks share: one run of a process, interleaved rounds, medians and ratios.

It imports nothing large: Linux counts the memory of the process that starts another towards the peak of the one that
is started.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time

CORES = sorted(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")


def timed(command, work, cores=None, environment=None, server=None):
    """Runs `command` once, on the first `cores` cores. Its output, and how it went; `server` is the process of a server
    whose children work for it."""
    with open(f"{work}/answer", "w+") as answer:
        if cores:
            os.sched_setaffinity(0, CORES[:cores])
        busy, served, start = machine_busy(), children_cpu(server), time.monotonic()
        process = subprocess.Popen(command, stdout=answer, stderr=subprocess.STDOUT, cwd=work,
                                   env=os.environ | (environment or {}))
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        os.sched_setaffinity(0, CORES)
        worked = machine_busy() - busy
        if server:
            settle(server)
        served = children_cpu(server) - served
        cpu = usage.ru_utime + usage.ru_stime
        answer.seek(0)
        run = {"wall": wall, "cpu": cpu, "server": served, "peak": usage.ru_maxrss / 1024,
               "others": max(0.0, worked - cpu - served), "failed": process.returncode != 0}
        return answer.read().strip(), run


def machine_busy():
    """Processor seconds that the whole machine has worked."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def children_cpu(process):
    """Processor seconds of the children that `process` has waited for."""
    if not process:
        return 0.0
    with open(f"/proc/{process}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def settle(server):
    """Waits until those of the server's children that worked for one client have ended."""
    before = None
    while True:
        with open(f"/proc/{server}/task/{server}/children") as file:
            now = file.read()
        if now == before:
            return
        before = now
        time.sleep(0.1)


def failure(text):
    """The line of a program's output that says why it failed."""
    lines = text.splitlines() or ["no output"]
    try:
        answer = json.loads(lines[-1])
        lines = [(answer.get("errors") or [answer["error"]])[0]["message"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [line for line in lines if "rror" in line][-1:] or lines[-1:]
    return lines[0][:160]


def interleave(everyone, rounds, label):
    """Everyone runs once in each round, in an order that turns; `run` is theirs."""
    for number in range(rounds):
        turn = number * len(everyone) // rounds
        for contestant in everyone[turn:] + everyone[:turn]:
            if not contestant.failure:
                contestant.run()
        print(f"{label}: round {number + 1} of {rounds}", file=sys.stderr)


def median(contestant, key):
    return statistics.median(run[key] for run in contestant.runs)


def ratio(ours, its, key):
    """The median of the rounds' ratios, as text."""
    ratios = [mine[key] / other[key] for mine, other in zip(ours.runs, its.runs) if other[key]]
    return f"{statistics.median(ratios):.2f}" if ratios and ours is not its else ""


def others(everyone):
    """How many cores other processes used meanwhile."""
    runs = [run for contestant in everyone for run in contestant.runs]
    return sum(run["others"] for run in runs) / max(1e-9, sum(run["wall"] for run in runs))


def machine(binary, requirements):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open(requirements) as file:
        pins = file.read().split()
    ours = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip()
    system = f"{len(CORES)} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{model}, {system}; {ours}, {', '.join(pins)}"
