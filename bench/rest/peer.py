"""Reads an API page by page into Parquet, as people do today. Prints how many rows as JSON.

Usage: peer.py requests|orjson|dlt URL OUT_FOLDER
"""

import json
import os
import sys

who, url, out = sys.argv[1:]


def script(parse):
    """One page after the other through one session, each page a row group of one file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import requests

    os.makedirs(out)
    session = requests.Session()
    writer, rows, page = None, 0, 1
    while True:
        answer = session.get(url, params={"page": page, "page_size": 100}, timeout=30)
        answer.raise_for_status()
        body = parse(answer)
        table = pa.Table.from_pylist(body["items"], schema=writer.schema if writer else None)
        if writer is None:
            writer = pq.ParquetWriter(f"{out}/orders.parquet", table.schema)
        writer.write_table(table)
        rows += table.num_rows
        if page >= body["total_pages"]:
            break
        page += 1
    writer.close()
    return rows


def with_dlt():
    import dlt
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source({
        "client": {
            "base_url": url.rsplit("/", 1)[0] + "/",
            "paginator": {"type": "page_number", "base_page": 1, "total_path": "total_pages"},
        },
        "resources": [{
            "name": "orders", "max_table_nesting": 0,
            "endpoint": {"path": url.rsplit("/", 1)[1], "params": {"page_size": 100}, "data_selector": "items"},
        }],
    })
    pipeline = dlt.pipeline(
        "bench", destination=dlt.destinations.filesystem(bucket_url=out), dataset_name="api", pipelines_dir=f"{out}-work"
    )
    pipeline.run(source, loader_file_format="parquet")
    return pipeline.last_trace.last_normalize_info.row_counts["orders"]


if who == "dlt":
    rows = with_dlt()
elif who == "orjson":
    import orjson

    rows = script(lambda answer: orjson.loads(answer.content))
else:
    rows = script(lambda answer: answer.json())
print(json.dumps({"rows": rows}))
