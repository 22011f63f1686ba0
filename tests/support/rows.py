"""Shows every cell of Parquet files, as pyarrow reads them. Usage: rows.py FOLDER...

Prints for each folder {"columns": [[name, type]], "rows": [[cell]]}, in order of the files' names: that of runs,
their splits, and the files of a split. A null cell is null, any other is text.
"""

import glob
import json
import sys
from datetime import date, datetime
from decimal import Decimal

import pyarrow.parquet as pq

TYPES = {
    "double": "float64", "date32[day]": "date", "timestamp[us]": "timestamp", "timestamp[us, tz=UTC]": "timestamptz",
}


def kind(field):
    name = str(field.type)
    return TYPES.get(name, name.replace("decimal128", "decimal").replace(", ", ","))


def shown(value):
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case int() | float() | Decimal():
            return str(value)
        case datetime() | date():
            return value.isoformat()
    raise TypeError(type(value))


def table(folder):
    columns, rows = None, []
    for file in sorted(glob.glob(f"{folder}/*.parquet")):
        part = pq.read_table(file)
        found = [[field.name, kind(field)] for field in part.schema]
        assert columns in (None, found), f"{file}: {found}, not {columns}"
        columns = found
        cells = [[shown(value) for value in column.to_pylist()] for column in part.columns]
        rows.extend(zip(*cells))
    return {"columns": columns, "rows": rows}


print(json.dumps([table(folder) for folder in sys.argv[1:]]))
