//! Upserts: after each run the table has one row for each key, the newest, as a map would.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bench, TABLE};
use crate::support::{Output, points_passed, soak};

/// What a table must hold: the version of each id.
type Model = BTreeMap<u64, u64>;

fn bench(more: &str) -> Bench {
    Bench::new(&format!("\n  mode: upsert\n  key: [id]{more}"))
}

impl Bench {
    /// A file of rows that say which version of their id they are.
    fn put_versions(&self, name: &str, rows: &[(u64, u64)]) {
        let mut text = String::from("id,name,region,version\n");
        for (id, version) in rows {
            let region = ["eu", "us", "ap"][(*id % 3) as usize];
            text.push_str(&format!("{id},n{id},{region},{version}\n"));
        }
        std::fs::create_dir_all(self.dir.path().join("in")).unwrap();
        self.dir.write(&format!("in/{name}"), &text);
    }

    /// What readers find is what the model has.
    #[track_caller]
    fn check_versions(&self, found: &Value, model: &Model, when: &str) {
        assert_eq!(found["rows"], model.len(), "{when}");
        let sum = |value: &dyn Fn(u64, u64) -> u64| -> String {
            model
                .iter()
                .map(|(id, version)| value(*id, *version))
                .sum::<u64>()
                .to_string()
        };
        assert_eq!(found["sums"]["id"], sum(&|id, _| id), "{when}");
        assert_eq!(
            found["sums"]["version"],
            sum(&|_, version| version),
            "{when}"
        );
        for row in found["first"].as_array().unwrap() {
            let id = row[0].as_u64().unwrap();
            assert_eq!(row[3].as_u64(), model.get(&id).copied(), "{when}: id {id}");
        }
    }
}

fn versions(ids: impl Iterator<Item = u64>, version: u64) -> Vec<(u64, u64)> {
    ids.map(|id| (id, version)).collect()
}

/// Small numbers that differ from one call to the next, the same for each run of the tests.
fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn a_run_replaces_rows_by_their_key_and_leaves_other_files_alone() {
    let bench = bench("");
    bench.put_versions("a.csv", &versions(0..5_000, 1));
    bench.runs();
    bench.put_versions("b.csv", &versions(10_000..12_000, 1));
    bench.runs();
    let before = bench.catalog.read(TABLE);
    bench.put_versions("c.csv", &versions(4_500..5_500, 2));
    let report = bench.runs();
    assert_eq!(report["rows_written"], 1_000, "{report}");
    let mut model: Model = versions((0..5_000).chain(10_000..12_000), 1)
        .into_iter()
        .collect();
    model.extend(versions(4_500..5_500, 2));
    let found = bench.catalog.read(TABLE);
    bench.check_versions(&found["pyiceberg"], &model, "an upsert");
    let summary = &found["snapshots"][2]["summary"];
    assert_eq!(found["snapshots"][2]["operation"], "overwrite");
    assert_eq!(summary["dativo.rows"], "1000");
    assert_eq!(summary["total-records"], "7500");
    let files =
        |found: &Value| -> Vec<String> { serde_json::from_value(found["files"].clone()).unwrap() };
    let kept = files(&before)
        .iter()
        .filter(|file| files(&found).contains(file))
        .count();
    assert!(
        kept > 0 && kept < files(&before).len(),
        "{kept} of {before}"
    );
    let verified = Output::of(&mut bench.command(&["verify", "job.yaml"]));
    assert_eq!(verified.code, 0, "{verified:?}");
    // Nothing new: nothing is written again.
    bench.runs();
    assert_eq!(files(&bench.catalog.read(TABLE)), files(&found));
}

#[test]
fn random_upserts_end_as_a_map_would() {
    let layouts = [
        "",
        "\n  partition_by: [\"bucket(4, id)\"]",
        "\n  partition_by: [region]\n  sort_by: [version desc]\n  target_file_size: 65536",
        "\n  key: [region, id]\n  partition_by: [region]\n  sort_by: [id]",
    ];
    let mut seed = 7;
    for layout in layouts {
        let key = if layout.contains("key:") {
            ""
        } else {
            "\n  key: [id]"
        };
        let bench = Bench::new(&format!("\n  mode: upsert{key}{layout}"));
        let mut model = Model::new();
        for version in 1..=if soak() { 40 } else { 5 } {
            let from = random(&mut seed) % 3_000;
            let every = 1 + random(&mut seed) % 5;
            let rows = versions((from..from + 2_000).step_by(every as usize), version);
            model.extend(rows.iter().copied());
            bench.put_versions(&format!("{version}.csv"), &rows);
            bench.runs();
        }
        let found = bench.catalog.read(TABLE);
        bench.check_versions(&found["pyiceberg"], &model, layout);
    }
}

#[test]
fn of_two_rows_with_one_key_in_a_split_the_later_stays() {
    for layout in [
        "",
        "\n  sort_by: [version desc]",
        "\n  partition_by: [\"bucket(2, id)\"]",
        "\n  merge_mode: merge_on_read",
    ] {
        let bench = bench(layout);
        let mut rows = versions(0..500, 1);
        rows.extend(versions(100..200, 3));
        rows.extend(versions(150..160, 2));
        bench.put_versions("a.csv", &rows);
        let model: Model = rows.iter().copied().collect();
        bench.runs();
        let found = bench.catalog.read(TABLE);
        bench.check_versions(&found["pyiceberg"], &model, layout);
        assert_eq!(found["snapshots"][0]["summary"]["dativo.rows"], "500");
    }
}

#[test]
fn what_an_upsert_cannot_decide_is_refused_and_loses_nothing() {
    let refused = |key: &str, text: &str, part: &str| {
        let bench = Bench::new(&format!("\n  mode: upsert\n  {key}"));
        // Of two splits.
        bench.put_versions("a.csv", &versions(100..20_000, 1));
        std::fs::write(bench.dir.path().join("in/b.csv"), text).unwrap();
        bench.refuses(part);
        assert_eq!(bench.catalog.read(TABLE)["pyiceberg"]["rows"], 0, "{part}");
    };
    let header = "id,name,region,version\n";
    refused("key: [id]", &format!("{header},x,eu,1\n"), "NULL in `id`");
    refused("key: [id]", &format!("{header}100,x,eu,1\n"), "two splits");
    refused("key: [city]", &format!("{header}30,x,eu,1\n"), "`city`");
    refused(
        "key: [id]\n  partition_by: [region]\n  merge_mode: merge_on_read",
        &format!("{header}30,x,eu,1\n"),
        "copy_on_write",
    );
    // A number with a fraction is never quite the same twice.
    let bench = Bench::new("\n  mode: upsert\n  key: [amount]");
    bench.put("a.csv", 0, 10);
    bench.refuses("`amount` is of the type double");
    let bench = Bench::new("\n  merge_mode: merge_on_read");
    bench.put("a.csv", 0, 10);
    bench.refuses("mode: upsert");
}

#[test]
fn files_of_others_are_written_again_by_their_field_ids() {
    let bench = bench("");
    std::fs::create_dir_all(bench.dir.path().join(".dativo")).unwrap();
    let row = |id: u64| json!({ "id": id, "name": format!("n{id}"), "region": "eu", "version": 1, "old": id });
    let rows: Vec<Value> = (0..100).map(row).collect();
    bench.catalog.create(TABLE, &json!(rows));
    // Afterwards another column has the name that one had before.
    bench.catalog.rename(TABLE, "old", "older");
    bench.catalog.rename(TABLE, "name", "old");
    bench.catalog.rename(TABLE, "older", "name");
    std::fs::create_dir_all(bench.dir.path().join("in")).unwrap();
    bench.dir.write(
        "in/a.csv",
        "id,old,region,version\n7,new,us,2\n100,n100,us,2\n",
    );
    bench.runs();
    let found = bench.catalog.read(TABLE);
    let read = &found["pyiceberg"];
    assert_eq!(read["rows"], 101);
    // The numbers that were in `old` are in `name`, but for those of the rows that came.
    assert_eq!(read["sums"]["name"], (99 * 100 / 2 - 7).to_string());
    assert_eq!(
        read["nulls"],
        json!({ "id": 0, "old": 0, "region": 0, "version": 0, "name": 2 })
    );
}

#[test]
fn deletes_are_read_where_rows_are_merged_on_read() {
    for layout in ["", "\n  partition_by: [\"bucket(4, id)\"]"] {
        let bench = bench(&format!("\n  merge_mode: merge_on_read{layout}"));
        let mut model = Model::new();
        for (version, ids) in [(1, 0..1_000), (2, 500..1_500), (3, 900..1_100)] {
            let rows = versions(ids, version);
            model.extend(rows.iter().copied());
            bench.put_versions(&format!("{version}.csv"), &rows);
            bench.runs();
        }
        // pyiceberg refuses tables with equality deletes.
        let found = bench.catalog.read_by_duckdb(TABLE);
        bench.check_versions(&found, &model, layout);
        let verified = Output::of(&mut bench.command(&["verify", "job.yaml"]));
        assert_eq!(verified.code, 0, "{verified:?}");
        // Copying needs files without deletes about them.
        bench.job(
            "job",
            "in/*.csv",
            "warehouse: warehouse\n  mode: upsert\n  key: [id]",
        );
        bench.put_versions("4.csv", &versions(0..10, 4));
        bench.refuses("delete files");
        bench.check_versions(
            &bench.catalog.read_by_duckdb(TABLE),
            &model,
            "after a refusal",
        );
    }
}

#[test]
fn upserts_at_the_same_time_leave_one_row_for_each_key() {
    let bench = bench("");
    for job in 0..4 {
        std::fs::create_dir_all(bench.dir.path().join(format!("in{job}"))).unwrap();
        let rows: String = (0..1_000).map(|id| format!("{id},n,eu,{job}\n")).collect();
        let text = format!("id,name,region,version\n{rows}");
        bench.dir.write(&format!("in{job}/a.csv"), &text);
        let target = "warehouse: warehouse\n  mode: upsert\n  key: [id]";
        bench.job(&format!("job{job}"), &format!("in{job}/*.csv"), target);
    }
    let running: Vec<_> = (0..4)
        .map(|job| {
            bench
                .command(&["run", &format!("job{job}.yaml")])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    let found = bench.catalog.read(TABLE);
    let read = &found["pyiceberg"];
    assert_eq!(
        (&read["rows"], &read["sums"]["id"]),
        (&json!(1_000), &json!("499500"))
    );
    // The last to commit wrote all keys.
    let last = read["first"][0][3].as_u64().unwrap();
    assert_eq!(read["sums"]["version"], (last * 1_000).to_string());
    assert_eq!(found["snapshots"].as_array().unwrap().len(), 4);
}

#[test]
fn a_kill_at_any_named_point_loses_and_doubles_nothing_in_an_upsert() {
    let begun = || {
        let bench = bench("");
        bench.put_versions("a.csv", &versions(0..3_000, 1));
        bench.runs();
        let mut rows = versions(1_000..2_000, 2);
        rows.push((1_500, 3));
        bench.put_versions("b.csv", &rows);
        bench
    };
    let mut model: Model = versions(0..3_000, 1).into_iter().collect();
    model.extend(versions(1_000..2_000, 2));
    model.insert(1_500, 3);
    let reference = begun();
    let passed = points_passed(&reference.dir, reference.command(&["run", "job.yaml"]));
    let points: Vec<String> = passed
        .into_iter()
        .flat_map(|(name, times)| {
            let most = if soak() { times } else { 1 };
            (1..=most).map(move |n| format!("{name}:{n}"))
        })
        .collect();
    for point in &points {
        let bench = begun();
        let mut killed = bench.command(&["run", "job.yaml"]);
        killed.env("DATIVO_CRASH_AT", point).status().unwrap();
        bench.runs();
        let found = bench.catalog.read(TABLE);
        bench.check_versions(&found["pyiceberg"], &model, point);
        // Whoever dies right after its commit landed leaves the file that had a key twice.
        if !point.starts_with("iceberg-committed") {
            bench.check_no_litter(&found, point);
        }
        let verified = Output::of(&mut bench.command(&["verify", "job.yaml"]));
        assert_eq!(verified.code, 0, "{point}: {verified:?}");
    }
}
