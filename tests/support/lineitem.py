"""Writes TPC-H's table lineitem as CSV (about 750 MB at scale 1). Usage: lineitem.py SCALE FILE"""

import json
import os
import subprocess
import sys

scale, path = sys.argv[1:]
generator = os.path.join(os.path.dirname(sys.executable), "tpchgen-cli")
command = [generator, "csv", "-s", scale, "-T", "lineitem", "--stdout", "-q", "-n", "1"]
with open(path + ".part", "wb") as file:
    subprocess.run(command, stdout=file, check=True)
os.rename(path + ".part", path)
print(json.dumps({"bytes": os.path.getsize(path)}))
