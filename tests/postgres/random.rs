//! Random rows of random types, nested ones among them, are read as the server prints them.

use serde_json::json;

use super::{compare, write_job};
use crate::support::postgres::{Server, newer_server, server};
use crate::support::{TestDir, cli, python, soak};

const TABLES: usize = 20;

fn check(server: &Server, seed: &str, rows: usize) {
    let args =
        [TABLES, rows, usize::try_from(server.version).unwrap()].map(|number| number.to_string());
    let made = python("random_postgres.py", &[seed, &args[0], &args[1], &args[2]]);
    let who = format!("`random_postgres.py {seed} {}`", args.join(" "));
    let database = server.database();
    database.sql(made["sql"].as_str().unwrap());
    let dir = TestDir::new();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    let mut tables = Vec::new();
    for table in 0..TABLES {
        let name = format!("r{table}");
        let parallelism = 1 + table % 3;
        let batch_size = [7, 300, 65536][table % 3];
        let reader = json!({ "connection_string": database.url("reader"), "table": name, "infinity": "saturate",
            "batch_size": batch_size });
        write_job(&dir, &name, &reader, &json!({ "parallelism": parallelism }));
        let file = format!("{name}.yaml");
        std::fs::rename(dir.path().join(&file), dir.path().join("jobs").join(&file)).unwrap();
        tables.push((name.clone(), format!("select * from {name}")));
    }
    let output = cli(&dir, &["run", "jobs", "--json"]);
    assert_eq!(output.code, 0, "{who}: {output:?}");
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
