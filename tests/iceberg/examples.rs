//! The example jobs that need services, as they are written in `jobs/acme`, against such services.

use std::io::Write as _;

use serde_json::json;

use super::Bench;
use crate::support::TestDir;
use crate::support::aws::servers;
use crate::support::http::Scripted;
use crate::support::iceberg::Catalog;
use crate::support::{postgres, repository};

/// A folder with the jobs, whose tables go to the bucket `lake` of SeaweedFS.
fn bench(table: &str) -> Bench {
    let dir = TestDir::new();
    std::os::unix::fs::symlink(repository().join("jobs"), dir.path().join("jobs")).unwrap();
    let bucket = "try:\n    s3.create_bucket(Bucket='lake')\nexcept s3.exceptions.BucketAlreadyOwnedByYou:\n    pass\nexcept s3.exceptions.BucketAlreadyExists:\n    pass";
    servers().python("moto", bucket, &[]);
    let catalog = format!(
        "sqlite:///{}",
        dir.path().join(".dativo/catalog.db").display()
    );
    Bench {
        catalog: Catalog::sql_with_bucket(&catalog, "s3://lake/acme"),
        dir,
        table: table.to_owned(),
        variables: servers().environment("moto"),
    }
}

#[test]
fn the_job_from_an_api_to_iceberg_runs_as_it_is_written() {
    let mut bench = bench("custom_api.users");
    bench
        .variables
        .push(("CUSTOM_API_KEY", "sesame-opens-it".to_owned()));
    let api = Scripted::start(|request, stream| {
        let first = if request.param("cursor").is_some() {
            1_000
        } else {
            0
        };
        let user = |id: u64| json!({ "id": id, "email": format!("u{id}@example.com"), "created_at": "2026-01-02T03:04:05.000006Z" });
        let users: Vec<_> = (first..(first + 1_000).min(1_500)).map(user).collect();
        let next = (first == 0).then_some("next");
        let is_known = request.text.contains("Bearer sesame-opens-it")
            || request.text.contains("bearer sesame-opens-it");
        let (status, body) = match is_known {
            true => (
                "200 OK",
                json!({ "items": users, "next_cursor": next }).to_string(),
            ),
            false => ("401 Unauthorized", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
    });
    // Nothing but the address differs.
    let job = std::fs::read_to_string(repository().join("jobs/acme/api_to_iceberg.yaml")).unwrap();
    let address = format!("http://{}/v1/users", api.address);
    let here = job.replace("https://api.customtool.com/v1/users", &address);
    assert_ne!(here, job);
    bench.dir.write("api_to_iceberg.yaml", &here);
    let output = bench.run("api_to_iceberg");
    assert_eq!(output.code, 0, "{output:?}");
    let found = bench.catalog.read(&bench.table);
    let read = &found["pyiceberg"];
    assert_eq!(
        (&read["rows"], &read["sums"]["id"]),
        (&json!(1_500), &json!("1124250"))
    );
    let types = json!({ "id": "long", "email": "string", "created_at": "timestamptz" });
    assert_eq!(found["types"], types);
    assert!(
        found["location"]
            .as_str()
            .unwrap()
            .starts_with("s3://lake/acme/")
    );
}

#[test]
fn the_job_from_postgres_to_iceberg_follows_its_table() {
    let mut bench = bench("sales.orders");
    let database = postgres::server().database();
    database.sql(
        "create table orders (id bigint primary key, status text, total numeric(12, 2), updated_at timestamptz default now());
         grant select on orders to reader;
         insert into orders select i, 'new', i * 1.25 from generate_series(1, 3000) i;",
    );
    bench
        .variables
        .push(("PG_CONNECTION_STRING", database.url("reader")));
    let job = "jobs/acme/postgres_to_iceberg";
    database.settle();
    let output = bench.run(job);
    assert_eq!(output.code, 0, "{output:?}");
    database.sql(
        "update orders set status = 'paid', updated_at = clock_timestamp() where id % 10 = 0;
         insert into orders select i, 'new', 0 from generate_series(3001, 3100) i;",
    );
    database.settle();
    let output = bench.run(job);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json()["rows_read"], 400, "{output:?}");
    let found = bench.catalog.read(&bench.table);
    let rows = found["pyiceberg"]["rows"].as_u64().unwrap();
    assert_eq!(rows, 3_100);
    assert_eq!(found["pyiceberg"]["sums"]["id"], "4806550");
    let paid = found["pyiceberg"]["first"].as_array().unwrap().iter();
    for row in paid {
        let id = row[0].as_u64().unwrap();
        let expected = if id % 10 == 0 && id <= 3_000 {
            "paid"
        } else {
            "new"
        };
        assert_eq!(row[1], expected, "{row}");
    }
}

#[test]
fn the_operator_says_where_tables_of_a_tenant_are_kept() {
    let bench = Bench::new("");
    std::fs::create_dir(bench.dir.path().join("tenants")).unwrap();
    let catalog = "sqlite:///lake.db";
    let tenant =
        format!("target:\n  warehouse: lake\n  catalog: {{ type: sql, uri: \"{catalog}\" }}\n");
    bench.dir.write("tenants/t.yaml", &tenant);
    let job = "tenant_id: t\n\
         source: { reader: { type: custom, implementation: csv, config: { file_path: \"in/*.csv\" } } }\n\
         target: { namespace: sales, table: orders }\n";
    bench.dir.write("job.yaml", job);
    bench.put("a.csv", 0, 100);
    bench.runs();
    let uri = format!("sqlite:///{}", bench.dir.path().join("lake.db").display());
    let kept = Catalog::sql(&uri, &bench.dir.path().join("lake"));
    assert_eq!(kept.read("sales.orders")["pyiceberg"]["rows"], 100);
    // What the job says itself counts.
    bench
        .dir
        .write("job.yaml", &job.replace("table:", "warehouse: own, table:"));
    bench.refuses("is not below the warehouse");
    // Of another tenant nothing is known.
    bench
        .dir
        .write("job.yaml", &job.replace("tenant_id: t", "tenant_id: u"));
    bench.refuses("missing key `warehouse`");
    bench
        .dir
        .write("tenants/t.yaml", "target: { warehous: lake }\n");
    bench.dir.write("job.yaml", job);
    bench.refuses("unknown key `warehous`");
}
