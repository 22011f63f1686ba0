//! Jobs that write Iceberg tables, as pyiceberg and duckdb then read them through the same catalog.

mod catalogs;
mod examples;
mod faults;
mod layout;
mod postgres;
mod upsert;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::iceberg::Catalog;
use crate::support::{Output, TestDir, cli, command, files_below, repository};

const TABLE: &str = "sales.orders";

/// A folder with a job from CSV files to a table.
struct Bench {
    dir: TestDir,
    catalog: Catalog,
    table: String,
    variables: Vec<(&'static str, String)>,
}

impl Bench {
    /// With the default catalog; `more` stands under `target`.
    fn new(more: &str) -> Self {
        let dir = TestDir::new();
        let catalog = Catalog::of_folder(dir.path());
        let bench = Self {
            dir,
            catalog,
            table: TABLE.to_owned(),
            variables: Vec::new(),
        };
        bench.job("job", "in/*.csv", &format!("warehouse: warehouse{more}"));
        bench
    }

    fn job(&self, name: &str, files: &str, target: &str) {
        let (namespace, table) = self.table.rsplit_once('.').unwrap();
        let text = format!(
            "tenant_id: t\nparallelism: 2\nlimits: {{ batch_rows: 1000 }}\n\
             source: {{ reader: {{ type: custom, implementation: csv, config: {{ file_path: \"{files}\", split_bytes: 65536 }} }} }}\n\
             target:\n  {target}\n  namespace: {namespace}\n  table: {table}\n"
        );
        self.dir.write(&format!("{name}.yaml"), &text);
    }

    /// Rows `from..to`, of 97 names and two regions.
    fn put(&self, name: &str, from: u64, to: u64) {
        let mut text = String::from("id,name,region,amount\n");
        for id in from..to {
            let region = if id % 3 == 0 { "eu" } else { "us" };
            let name = if id % 10 == 0 {
                String::new()
            } else {
                format!("\"name, {}\"", id % 97)
            };
            text.push_str(&format!("{id},{name},{region},{}.5\n", id % 1000));
        }
        std::fs::create_dir_all(self.dir.path().join("in")).unwrap();
        self.dir.write(&format!("in/{name}"), &text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.dir, args);
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        command
    }

    fn run(&self, job: &str) -> Output {
        Output::of(&mut self.command(&["run", &format!("{job}.yaml"), "--json"]))
    }

    #[track_caller]
    fn runs(&self) -> Value {
        let output = self.run("job");
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }

    #[track_caller]
    fn refuses(&self, part: &str) {
        let output = self.run("job");
        assert_ne!(output.code, 0, "{output:?}");
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains(part), "{part}: {text}");
    }

    /// Rows `0..to` are in the table, each once.
    #[track_caller]
    fn check(&self, to: u64, when: &str) -> Value {
        let found = self.catalog.read(&self.table);
        let read = &found["pyiceberg"];
        let sum = to * to.saturating_sub(1) / 2;
        assert_eq!(read["rows"], to, "{when}");
        if to > 0 {
            assert_eq!(read["sums"]["id"], sum.to_string(), "{when}");
        }
        assert_eq!(read["nulls"]["name"], to.div_ceil(10), "{when}");
        found
    }

    /// No file lies about that no snapshot of the table has.
    #[track_caller]
    fn check_no_litter(&self, found: &Value, when: &str) {
        let files = found["all_files"].as_array().unwrap().iter();
        let name = |file: &Value| {
            file.as_str()
                .unwrap()
                .rsplit_once("/data/")
                .unwrap()
                .1
                .to_owned()
        };
        let mut named: Vec<String> = files.map(name).collect();
        named.sort();
        let data = self.dir.path().join("warehouse/sales/orders/data");
        assert_eq!(files_below(&data), named, "files without a use: {when}");
    }
}

#[test]
fn a_job_without_a_writer_makes_a_table_and_adds_a_snapshot_with_each_run() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 20_000);
    let report = bench.runs();
    assert_eq!(report["rows_read"], 20_000);
    let found = bench.check(20_000, "the first run");
    let types = json!({ "id": "long", "name": "string", "region": "string", "amount": "double" });
    assert_eq!(found["types"], types);
    assert_eq!(
        found["ids"],
        json!({ "id": 1, "name": 2, "region": 3, "amount": 4 })
    );
    let summary = &found["snapshots"][0]["summary"];
    assert_eq!(summary["dativo.run"], report["run_id"]);
    assert_eq!(
        (&summary["dativo.tenant"], &summary["dativo.job"]),
        (&json!("t"), &json!("job"))
    );
    assert_eq!(summary["dativo.rows"], "20000");
    assert_eq!(summary["total-records"], "20000");
    for component in ["reader", "writer"] {
        let digest = summary[&format!("dativo.{component}-digest")]
            .as_str()
            .unwrap();
        assert!(
            digest.starts_with("sha256:") && digest.len() == 71,
            "{digest}"
        );
    }
    assert!(summary["dativo.state"].is_string());

    bench.put("b.csv", 20_000, 25_000);
    assert_eq!(bench.runs()["rows_read"], 5_000);
    let found = bench.check(25_000, "the second run");
    let snapshots = found["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[1]["parent"], snapshots[0]["id"]);
    assert_eq!(snapshots[1]["operation"], "append");
    assert_eq!(snapshots[1]["summary"]["total-records"], "25000");
}

#[test]
fn the_state_is_read_back_from_the_table() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 3_000);
    bench.runs();
    let catalog = std::fs::read(bench.dir.path().join(".dativo/catalog.db")).unwrap();
    std::fs::remove_dir_all(bench.dir.path().join(".dativo")).unwrap();
    std::fs::create_dir(bench.dir.path().join(".dativo")).unwrap();
    std::fs::write(bench.dir.path().join(".dativo/catalog.db"), catalog).unwrap();
    bench.put("b.csv", 3_000, 4_000);
    assert_eq!(bench.runs()["rows_read"], 1_000);
    bench.check(4_000, "without the local store");
}

#[test]
fn pyiceberg_appends_to_our_table_and_we_to_its() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 2_000);
    bench.runs();
    let row = json!([{ "id": 2_000, "name": null, "region": "eu", "amount": 1.5 }]);
    bench.catalog.append(TABLE, &row);
    bench.put("b.csv", 2_001, 3_000);
    bench.runs();
    let found = bench.check(3_000, "after both");
    assert_eq!(found["snapshots"].as_array().unwrap().len(), 3);

    let bench = Bench::new("");
    std::fs::create_dir_all(bench.dir.path().join(".dativo")).unwrap();
    let row = json!([{ "id": 2_000, "name": "x", "region": "eu", "amount": 1.5 }]);
    bench.catalog.create(TABLE, &row);
    bench.put("a.csv", 0, 2_000);
    bench.runs();
    let found = bench.catalog.read(TABLE);
    assert_eq!(found["pyiceberg"]["rows"], 2_001);
}

#[test]
fn what_a_run_cannot_write_is_refused_and_leaves_the_table_as_it_was() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 100);
    bench.runs();
    // A column of another type than the table's.
    std::fs::create_dir_all(bench.dir.path().join("in2")).unwrap();
    bench
        .dir
        .write("in2/b.csv", "id,name,region,amount\n1,x,eu,today\n");
    bench.job("other", "in2/*.csv", "warehouse: warehouse");
    let output = bench.run("other");
    assert_ne!(output.code, 0, "{output:?}");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains("amount") && text.contains("double"), "{text}");
    bench.check(100, "after a refusal");

    let bench = Bench::new("\n  mode: overwrite");
    bench.put("a.csv", 0, 100);
    bench.refuses("would drop what it read before");
    let bench = Bench::new("\n  partition_by: [city]");
    bench.put("a.csv", 0, 100);
    bench.refuses("`city`");
}

#[test]
fn a_run_adds_columns_and_widens_types_where_it_may() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 100);
    bench.runs();
    std::fs::create_dir_all(bench.dir.path().join("in2")).unwrap();
    bench
        .dir
        .write("in2/b.csv", "id,name,amount,extra\n100,x,1.5,true\n");
    bench.job(
        "other",
        "in2/*.csv",
        "warehouse: warehouse\n  schema_evolution: refuse",
    );
    let output = bench.run("other");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(output.code != 0 && text.contains("`extra`"), "{text}");
    bench.job("other", "in2/*.csv", "warehouse: warehouse");
    let output = bench.run("other");
    assert_eq!(output.code, 0, "{output:?}");
    let found = bench.catalog.read(TABLE);
    let read = &found["pyiceberg"];
    assert_eq!(read["rows"], 101);
    assert_eq!(
        (&read["nulls"]["extra"], &read["nulls"]["region"]),
        (&json!(100), &json!(1))
    );
    assert_eq!(found["ids"]["extra"], 5);
}

#[test]
fn a_plan_names_the_table_and_no_password() {
    let bench = Bench::new("");
    bench.job(
        "job",
        "in/*.csv",
        "warehouse: warehouse\n  catalog: { type: sql, uri: \"postgresql://user:hunter2@127.0.0.1:1/c\" }",
    );
    bench.put("a.csv", 0, 10);
    // It asks the catalog for the last commit, and nothing listens there.
    let output = cli(&bench.dir, &["plan", "job.yaml"]);
    assert!(output.stderr.contains("127.0.0.1:1"), "{output:?}");
    let run = bench.run("job");
    assert_ne!(run.code, 0);
    for text in [output.stdout, output.stderr, run.stdout, run.stderr] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_runs_wrote_is_verified_byte_for_byte() {
    let bench = Bench::new("");
    bench.put("a.csv", 0, 2_000);
    bench.runs();
    bench.put("b.csv", 2_000, 3_000);
    bench.runs();
    let verify = || cli(&bench.dir, &["verify", "job.yaml", "--json"]);
    let output = verify();
    assert_eq!(output.code, 0, "{output:?}");
    let found = output.json();
    let rows: Vec<_> = found["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["rows"])
        .collect();
    assert_eq!(rows, [1_000, 2_000]);

    let found = bench.check(3_000, "before the damage");
    let file = found["files"][0]
        .as_str()
        .unwrap()
        .strip_prefix("file://")
        .unwrap();
    let whole = std::fs::read(file).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    std::fs::write(file, &damaged).unwrap();
    let output = verify();
    assert!(
        output.code != 0 && output.stdout.contains("was changed"),
        "{output:?}"
    );
    std::fs::remove_file(file).unwrap();
    let output = verify();
    assert!(
        output.code != 0 && output.stdout.contains("is gone"),
        "{output:?}"
    );
    std::fs::write(file, whole).unwrap();
    assert_eq!(verify().code, 0);
}

#[test]
fn the_example_job_makes_a_table_that_others_open() {
    let dir = TestDir::new();
    std::os::unix::fs::symlink(repository().join("jobs"), dir.path().join("jobs")).unwrap();
    let output = cli(&dir, &["run", "jobs/iceberg.yaml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let found = Catalog::of_folder(dir.path()).read("quickstart.weather");
    assert_eq!(found["pyiceberg"]["rows"], 2226);
    assert_eq!(found["partitions"], json!(["identity"]));
}
