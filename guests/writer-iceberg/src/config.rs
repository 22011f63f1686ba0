//! The `config` block, as the host takes it: keys, defaults, grants.

use serde_json::{Value, json};

/// JSON Schema of the `config` block.
pub fn schema() -> String {
    let columns = |description: &str| {
        json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "uniqueItems": true,
            "default": [], "description": description })
    };
    json!({
        "type": "object",
        "required": ["warehouse", "namespace", "table"],
        "additionalProperties": false,
        "properties": {
            "warehouse": { "type": "string", "minLength": 1,
                "description": "Where the tables are kept: a folder, `file:///folder`, `s3://bucket/prefix`; or, with a REST catalog, the name that it has for one." },
            "namespace": { "type": "string", "minLength": 1,
                "description": "The namespace of the table; names are joined by `.`. It is made where absent." },
            "table": { "type": "string", "minLength": 1,
                "description": "The name of the table. It is made where absent." },
            "catalog": catalog(),
            "partition_by": columns("How a new table is partitioned: a column, or `bucket(16, id)`, `truncate(4, name)`, `year(at)`, `month(at)`, `day(at)`, `hour(at)`. Default: not at all."),
            "sort_by": columns("How rows are sorted inside of each file of a new table: `id`, `at desc`, `at desc nulls last`. Default: as they come."),
            "mode": { "enum": ["append", "overwrite", "overwrite_partitions", "upsert"], "default": "append",
                "description": "What a run does to the rows that are there: nothing, replace them all, replace the partitions that it has rows for, replace those with the same `key`. Default: `append`." },
            "key": columns("With `mode: upsert`: the columns that tell rows apart."),
            "merge_mode": { "enum": ["copy_on_write", "merge_on_read"], "default": "copy_on_write",
                "description": "With `mode: upsert`: whether files with rows that are replaced are written again, or a file of deletes says that those are gone. Default: `copy_on_write`." },
            "schema_evolution": { "enum": ["allow", "refuse"], "default": "allow",
                "description": "Whether a run may add columns to the table, widen their types and make them optional. Default: `allow`." },
            "compression": { "enum": ["zstd", "snappy", "none"], "default": "zstd",
                "description": "Of the column pages. Default: `zstd`." },
            "target_file_size": { "type": ["string", "integer"], "default": "512MiB",
                "description": "A file is closed once it is this long and the next one begins; at least 64 KiB. Default: `512MiB`." },
        },
        "x-dativo-grants": [
            { "capability": "iceberg", "access": "write", "target": "{warehouse} {namespace}.{table}" },
            { "capability": "iceberg", "access": "catalog", "target": "{catalog.uri}" },
            { "capability": "iceberg", "access": "catalog", "target": "{catalog.oauth2_server_uri}" },
        ],
    })
    .to_string()
}

fn catalog() -> Value {
    let text =
        |description: &str| json!({ "type": "string", "minLength": 1, "description": description });
    json!({
        "type": "object",
        "required": ["type", "uri"],
        "additionalProperties": false,
        "description": "Who knows which metadata of a table is the current one. Default: the SQL catalog `default` in `.dativo/catalog.db`.",
        "properties": {
            "type": { "enum": ["sql", "rest"], "description": "A database in the layout of pyiceberg's SqlCatalog, or a server of the Iceberg REST protocol." },
            "uri": text("`sqlite:///catalog.db`, `postgresql://user:password@host/database`, or the URL of a REST catalog."),
            "name": text("SQL: the name of the catalog in the database. Default: `default`."),
            "credential": text("REST: `CLIENT_ID:CLIENT_SECRET` for OAuth 2 client credentials."),
            "token": text("REST: a bearer token."),
            "oauth2_server_uri": text("REST: where tokens are fetched: a URL, or a path at the catalog. Default: `v1/oauth/tokens`."),
            "scope": text("REST: the scope of the token. Default: `catalog`."),
            "warehouse": text("REST: the name that the catalog has for the warehouse. Default: `warehouse` of the target."),
        },
    })
}
