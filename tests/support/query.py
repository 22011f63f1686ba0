"""Asks the Parquet files of a folder something in SQL, as the table `rows`. Usage: query.py FOLDER QUERY

Prints the rows of the answer, each cell as text or null.
"""

import json
import sys

import duckdb

folder, query = sys.argv[1:]
db = duckdb.connect()
db.sql("set timezone = 'UTC'")
db.sql(f"create view rows as from read_parquet('{folder}/*.parquet', union_by_name = true)")
found = db.sql(query).fetchall()
print(json.dumps([[None if cell is None else str(cell) for cell in row] for row in found]))
