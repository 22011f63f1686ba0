"""Reads tables back with tools that are not ours, and prints what they hold as one JSON object.

Usage: readback.py pyarrow|duckdb parquet FOLDER
       readback.py duckdb csv FILE         (NA and empty fields are null)
"""

import json
import sys

TYPES = {  # one name for what each tool calls its own way
    "int64": "int64", "BIGINT": "int64", "double": "float64", "DOUBLE": "float64", "string": "string",
    "VARCHAR": "string", "bool": "bool", "BOOLEAN": "bool", "date32[day]": "date", "DATE": "date",
    "timestamp[us]": "timestamp", "TIMESTAMP": "timestamp", "timestamp[us, tz=UTC]": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}


def with_pyarrow(folder):
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet", partitioning="hive").to_table()
    columns = {}
    for field in table.schema:
        kind = TYPES.get(str(field.type), str(field.type))
        column = table.column(field.name)
        columns[field.name] = {
            "type": kind,
            "nulls": column.null_count,
            "sum": number(pc.sum(column).as_py()) if kind in ("int64", "float64") else None,
        }
    return {"rows": table.num_rows, "columns": columns}


def with_duckdb(source):
    import duckdb

    db = duckdb.connect()
    db.sql("set timezone = 'UTC'")
    described = db.sql(f"describe from {source}").fetchall()
    columns = {}
    for name, kind, *_ in described:
        kind = TYPES.get(kind, kind)
        quoted = '"' + name.replace('"', '""') + '"'
        total = f"sum({quoted}::double)" if kind in ("int64", "float64") else "null"
        nulls, total = db.sql(f"select count(*) - count({quoted}), {total} from {source}").fetchall()[0]
        columns[name] = {"type": kind, "nulls": nulls, "sum": number(total)}
    row = ", ".join('"' + name + '"' for name, *_ in described)
    rows, checksum = db.sql(f"select count(*), sum(hash({row})::hugeint)::varchar from {source}").fetchall()[0]
    return {"rows": rows, "columns": columns, "checksum": checksum}


def number(value):
    """Sums of floats depend on their order in the last digits."""
    return None if value is None else float(f"{value:.9g}")


tool, form, place = sys.argv[1:]
if tool == "pyarrow":
    found = with_pyarrow(place)
elif form == "parquet":
    found = with_duckdb(f"read_parquet('{place}/**/*.parquet', hive_partitioning = true)")
else:
    found = with_duckdb(f"read_csv('{place}', header = true, nullstr = ['NA', ''], sample_size = -1)")
print(json.dumps(found))
