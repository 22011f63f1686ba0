"""Iceberg tables as pyiceberg and duckdb read them, through the catalog that the job used.

Usage: iceberg.py read   CATALOG TABLE     what both readers find: rows, types, NULLs, sums, a checksum of the rows
       iceberg.py duckdb CATALOG TABLE     what duckdb finds alone
       iceberg.py rename CATALOG TABLE COLUMN NAME   pyiceberg gives a column another name
       iceberg.py append CATALOG TABLE ROWS   pyiceberg appends ROWS (JSON) to the table
       iceberg.py create CATALOG TABLE ROWS   pyiceberg makes the table of ROWS
       iceberg.py plan   CATALOG TABLE FILTER   how many of the table's files pyiceberg would read
CATALOG is JSON: the properties of pyiceberg's `load_catalog`. Prints JSON.
"""

import datetime
import decimal
import hashlib
import json
import sys
import uuid

import duckdb
import pyarrow as pa
from duckdb_extensions import import_extension
from pyiceberg.catalog import load_catalog

UTC = datetime.timezone.utc


def plain(value):
    """One text for each value, whichever reader gave it."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
    if isinstance(value, datetime.datetime):
        zoned = value.tzinfo is not None
        return (value.astimezone(UTC) if zoned else value).isoformat(timespec="microseconds")
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, list) and value and all(isinstance(v, tuple) and len(v) == 2 for v in value):
        return {str(plain(k)): plain(v) for k, v in value}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (bool, int, str)):
        return value
    return str(value)


def summary(names, rows):
    rows = [[plain(value) for value in row] for row in rows]
    texts = sorted(json.dumps(row, sort_keys=True) for row in rows)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return {
        "rows": len(rows),
        "columns": names,
        "nulls": {name: sum(v is None for v in values) for name, values in columns.items()},
        "sums": {
            name: str(sum(decimal.Decimal(v) for v in values if v is not None))
            for name, values in columns.items()
            if values and all(v is None or (isinstance(v, int) and not isinstance(v, bool)) for v in values)
        },
        "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        "first": [json.loads(text) for text in texts[:20]],
    }


def by_pyiceberg(table):
    read = table.scan().to_arrow()
    rows = zip(*(column.to_pylist() for column in read.columns)) if read.num_columns else []
    return summary(read.column_names, list(rows))


def by_duckdb(properties, name, table):
    connection = duckdb.connect()
    for extension in ("avro", "httpfs", "iceberg"):
        import_extension(extension)
        connection.execute(f"LOAD {extension}")
    connection.execute("SET TimeZone = 'UTC'")
    if "s3.endpoint" in properties:
        host = properties["s3.endpoint"].removeprefix("http://")
        connection.execute(
            f"""CREATE SECRET s (TYPE s3, KEY_ID '{properties["s3.access-key-id"]}',
            SECRET '{properties["s3.secret-access-key"]}', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false,
            REGION 'us-east-1')"""
        )
    if properties["type"] == "rest":
        client, secret = properties["credential"].split(":")
        connection.execute(
            f"""CREATE SECRET i (TYPE iceberg, CLIENT_ID '{client}', CLIENT_SECRET '{secret}',
            OAUTH2_SERVER_URI '{properties["oauth2-server-uri"]}')"""
        )
        connection.execute(
            f"""ATTACH '{properties["warehouse"]}' AS ice (TYPE iceberg, ENDPOINT '{properties["uri"]}', SECRET i,
            ACCESS_DELEGATION_MODE 'none')"""
        )
        source = "ice." + ".".join(f'"{part}"' for part in name.split("."))
    else:
        source = f"iceberg_scan('{table.metadata_location.removeprefix('file://')}')"
    found = connection.execute(f"SELECT * FROM {source}")
    names = [column[0] for column in found.description]
    return summary(names, found.fetchall())


def all_files(table):
    manifests = {m.manifest_path: m for s in table.metadata.snapshots for m in s.manifests(table.io)}
    entries = (entry for m in manifests.values() for entry in m.fetch_manifest_entry(table.io, discard_deleted=True))
    return sorted({entry.data_file.file_path for entry in entries})


def read(properties, name):
    table = load_catalog("default", **properties).load_table(name)
    return {
        "pyiceberg": by_pyiceberg(table),
        "duckdb": by_duckdb(properties, name, table),
        "types": {field.name: str(field.field_type) for field in table.schema().fields},
        "ids": {field.name: field.field_id for field in table.schema().fields},
        "partitions": [str(field.transform) for field in table.spec().fields],
        "sort": [str(field) for field in table.sort_order().fields],
        "location": table.location(),
        "properties": table.properties,
        "snapshots": [
            {"id": s.snapshot_id, "parent": s.parent_snapshot_id, "operation": s.summary.operation.value,
             "summary": dict(s.summary.additional_properties)}
            for s in sorted(table.metadata.snapshots, key=lambda s: s.sequence_number)
        ],
        "files": sorted(task.file.file_path for task in table.scan().plan_files()),
        "all_files": all_files(table),
    }


def rows_of(text, schema=None):
    return pa.Table.from_pylist(json.loads(text), schema=schema)


def main():
    verb, properties, name = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    if verb == "read":
        return read(properties, name)
    catalog = load_catalog("default", **properties)
    if verb == "create":
        rows = rows_of(sys.argv[4])
        catalog.create_namespace_if_not_exists(name.rsplit(".", 1)[0])
        catalog.create_table(name, rows.schema).append(rows)
        return {}
    table = catalog.load_table(name)
    if verb == "duckdb":
        return by_duckdb(properties, name, table)
    if verb == "rename":
        with table.update_schema() as update:
            update.rename_column(sys.argv[4], sys.argv[5])
        return {}
    if verb == "append":
        table.append(rows_of(sys.argv[4], table.schema().as_arrow()))
        return {}
    if verb == "plan":
        return {"files": len(list(table.scan(row_filter=sys.argv[4]).plan_files()))}
    raise SystemExit(f"unknown verb {verb}")


print(json.dumps(main()))
