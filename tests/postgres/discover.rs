//! A user looks around: `discover`, `check`, `plan` and `preview` on a database.

use serde_json::{Value, json};

use super::write_job;
use crate::support::postgres::{Database, newer_server, server};
use crate::support::{TestDir, cli};

fn prepared() -> Database<'static> {
    let database = server().database();
    database.sql(
        "create schema sales; create schema hidden;
         create table sales.orders (id int8 primary key, customer int4 not null, amount numeric(12,2), updated_at timestamptz not null, note text);
         create index on sales.orders (updated_at);
         insert into sales.orders select n, n % 10, n, timestamptz '2024-01-01 00:00+00' + n * interval '1 second', 'note ' || n from generate_series(1, 1000) n;
         create table sales.lines (order_id int8, line int2, changed timestamp, primary key (order_id, line));
         create view sales.big as select * from sales.orders where amount > 900;
         create materialized view sales.sums as select customer, sum(amount) from sales.orders group by customer;
         create table sales.events (at date not null, body jsonb) partition by range (at);
         create table sales.events_2024 partition of sales.events for values from ('2024-01-01') to ('2025-01-01');
         create table \"Odd.Name\" (\"x\"\"y\" int4);
         create table hidden.t (n int4);
         create temp table passing (n int4);
         analyze;",
    );
    database
}

#[test]
fn discover_lists_what_the_role_may_read() {
    let database = prepared();
    database.sql(
        "create role guest login password 'pw-of-guest'; grant usage on schema sales to guest;
         grant select on sales.orders, sales.lines, sales.big, sales.sums, sales.events, \"Odd.Name\" to guest;",
    );
    let dir = TestDir::new();
    write_job(
        &dir,
        "job",
        &json!({ "connection_string": database.url("guest") }),
        &json!({}),
    );
    let output = cli(&dir, &["discover", "job.yaml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let answer = output.json();
    let datasets = answer["datasets"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer:#}"));
    let named: Vec<_> = datasets
        .iter()
        .map(|dataset| {
            (
                dataset["name"].as_str().unwrap(),
                dataset["kind"].as_str().unwrap(),
            )
        })
        .collect();
    let mut sorted = named.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            ("public.\"Odd.Name\"", "table"),
            ("sales.big", "view"),
            ("sales.events", "partitioned table"),
            ("sales.lines", "table"),
            ("sales.orders", "table"),
            ("sales.sums", "materialized view"),
        ]
    );
    let find = |name: &str| {
        datasets
            .iter()
            .find(|dataset| dataset["name"] == name)
            .unwrap()
    };
    let orders = find("sales.orders");
    assert_eq!(orders["rows"], 1000);
    assert_eq!(orders["key"], json!(["id"]));
    assert_eq!(orders["cursors"][0], "updated_at");
    let columns: Vec<Value> = orders["columns"].as_array().unwrap().clone();
    assert_eq!(
        columns[2],
        json!({ "name": "amount", "source_type": "numeric(12,2)", "nullable": true })
    );
    assert_eq!(columns[3]["source_type"], "timestamp with time zone");
    assert_eq!(columns[3]["nullable"], false);
    assert_eq!(find("sales.lines")["key"], json!(["order_id", "line"]));
    assert_eq!(find("sales.lines")["cursors"][0], "changed");
    assert_eq!(find("sales.big")["key"], json!([]));

    // Every name that it tells can be read.
    for (number, (name, _)) in named.iter().enumerate() {
        let job = format!("j{number}");
        let config = json!({ "connection_string": database.url("guest"), "table": name });
        write_job(&dir, &job, &config, &json!({}));
        let output = cli(&dir, &["run", &format!("{job}.yaml"), "--json"]);
        assert_eq!(output.code, 0, "{name}: {output:?}");
    }

    let output = cli(&dir, &["discover", "job.yaml"]);
    for part in [
        "sales.orders",
        "1,000",
        "updated_at",
        "numeric(12,2)",
        "materialized view",
    ] {
        assert!(
            output.stdout.contains(part),
            "{part} is not in {}",
            output.stdout
        );
    }
}

#[test]
fn discover_works_on_a_newer_server_and_an_empty_database() {
    let database = newer_server().database();
    let dir = TestDir::new();
    write_job(
        &dir,
        "job",
        &json!({ "connection_string": database.url("reader") }),
        &json!({}),
    );
    let output = cli(&dir, &["discover", "job.yaml", "--json"]);
    assert_eq!(
        (output.code, &output.json()["datasets"]),
        (0, &json!([])),
        "{output:?}"
    );
    database.sql("create table t (id int8 generated always as identity primary key, v text);");
    let answer = cli(&dir, &["discover", "job.yaml", "--json"]).json();
    assert_eq!(answer["datasets"][0]["name"], "public.t");
    assert_eq!(answer["datasets"][0]["key"], json!(["id"]));
}

#[test]
fn check_plan_and_preview_show_what_would_be_read() {
    let database = prepared();
    let dir = TestDir::new();
    let config = json!({ "connection_string": database.url("reader"), "table": "sales.orders", "where": "id > 990" });
    write_job(&dir, "job", &config, &json!({}));
    let output = cli(&dir, &["check", "job.yaml"]);
    assert_eq!(output.code, 0, "{output:?}");
    let output = cli(&dir, &["plan", "job.yaml"]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in ["updated_at", "connect 127.0.0.1"] {
        assert!(
            output.stdout.contains(part),
            "{part} is not in {}",
            output.stdout
        );
    }
    assert!(!output.stdout.contains("pw-of"), "{}", output.stdout);
    let output = cli(&dir, &["preview", "job.yaml"]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in ["note 991", "991.00", "2024-01-01T00:16:31"] {
        assert!(
            output.stdout.contains(part),
            "{part} is not in {}",
            output.stdout
        );
    }
    // Nothing was written.
    assert!(!dir.path().join("out").exists());

    let config = json!({ "connection_string": database.url("stranger"), "table": "sales.orders" });
    write_job(&dir, "no", &config, &json!({}));
    let output = cli(&dir, &["check", "no.yaml", "--json"]);
    assert_ne!(output.code, 0, "{output:?}");
}
