//! Partitions, sort orders and file sizes: what readers skip.

use serde_json::json;

use super::{Bench, TABLE};

#[test]
fn a_partitioned_table_is_pruned_by_both_values_and_bounds() {
    let bench = Bench::new("\n  partition_by: [region, \"bucket(4, id)\"]");
    bench.put("a.csv", 0, 9_000);
    bench.runs();
    let found = bench.check(9_000, "partitioned");
    assert_eq!(found["partitions"], json!(["identity", "bucket[4]"]));
    let files = found["files"].as_array().unwrap().len() as u64;
    let of_region = bench.catalog.files_for(TABLE, "region = 'eu'");
    assert!(0 < of_region && of_region < files, "{of_region} of {files}");
    assert_eq!(bench.catalog.files_for(TABLE, "region = 'asia'"), 0);
    assert_eq!(bench.catalog.files_for(TABLE, "id > 100000"), 0);
    assert_eq!(bench.catalog.files_for(TABLE, "amount < 0"), 0);
}

#[test]
fn files_end_at_their_size_and_hold_rows_in_order() {
    let bench = Bench::new(
        "\n  sort_by: [name, \"id desc\"]\n  compression: none\n  target_file_size: 64KiB",
    );
    bench.put("a.csv", 0, 20_000);
    bench.runs();
    let found = bench.check(20_000, "sorted");
    assert_eq!(found["sort"].as_array().unwrap().len(), 2, "{found}");
    assert!(found["files"].as_array().unwrap().len() > 2, "{found}");
}

#[test]
fn a_batch_of_more_partitions_than_files_may_be_open_arrives_whole() {
    let bench = Bench::new("\n  partition_by: [id]");
    bench.put("a.csv", 0, 600);
    bench.runs();
    let found = bench.check(600, "many partitions");
    assert_eq!(found["files"].as_array().unwrap().len(), 600);
}
