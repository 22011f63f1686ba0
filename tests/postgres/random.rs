//! Random rows of random types, nested ones among them, are read as the server prints them.

use serde_json::json;

use super::{compare, run_all};
use crate::support::postgres::{Server, newer_server, server};
use crate::support::{TestDir, python, soak};

const TABLES: usize = 20;

const BATCH_SIZES: [u32; 3] = [7, 300, 65_536];

fn check(server: &Server, seed: &str, rows: usize) {
    let args =
        [TABLES, rows, usize::try_from(server.version).unwrap()].map(|number| number.to_string());
    let made = python("random_postgres.py", &[seed, &args[0], &args[1], &args[2]]);
    let who = format!("`random_postgres.py {seed} {}`", args.join(" "));
    let database = server.database();
    database.sql(made["sql"].as_str().unwrap());
    let dir = TestDir::new();
    let tables: Vec<_> = (0..TABLES)
        .map(|table| (format!("r{table}"), format!("select * from r{table}")))
        .collect();
    let jobs: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(table, (name, _))| {
            let reader = json!({ "connection_string": database.url("reader"), "table": name, "infinity": "saturate",
                "batch_size": BATCH_SIZES[table % 3] });
            (name.clone(), reader, json!({ "parallelism": 1 + table % 3 }))
        })
        .collect();
    for (run, (name, _)) in run_all(&dir, &jobs).iter().zip(&tables) {
        assert!(run["error"].is_null(), "{who}, {name}: {}", run["error"]);
    }
    let pairs: Vec<_> = tables
        .iter()
        .map(|(name, query)| (name.as_str(), query.as_str()))
        .collect();
    println!("{who}: {} cells", made["cells"]);
    compare(&dir, &database, &pairs);
    assert!(made["cells"].as_u64().unwrap() > 50_000 * rows as u64 / 500);
}

#[test]
fn ten_thousand_random_rows_are_exact() {
    check(server(), "1", 500);
    if soak() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap().as_millis();
        for round in 0..20 {
            check(server(), &format!("{now}-{round}"), 1000);
        }
    }
}

#[test]
fn ten_thousand_random_rows_of_a_newer_server_are_exact() {
    check(newer_server(), "2", 500);
}
