//! What a summary, a check, a plan and the state show of a contract.

use serde_json::{Value, json};

use super::{ALL_TEXT, Case, check_golden, seen};
use crate::support::cli;

#[test]
fn rows_are_counted_once_in_the_summary() {
    let case = Case::new(
        "warn",
        "id,v\n1,a\n2,300\n2,5\n,7\n5,6\n",
        ALL_TEXT,
        "schema:\n- { name: id, type: int64, required: true }\n- { name: v, type: uint8 }\n\
         dataset: { unique: { columns: [v] }, rows: { min: 100 } }\n",
    );
    let report = case.run_json();
    assert_eq!(
        (
            &report["rows_read"],
            &report["rows_written"],
            &report["rows_rejected"]
        ),
        (&json!(5), &json!(2), &json!(3))
    );
    assert_eq!(
        report["contract"],
        json!({ "name": "users", "version": "1.0.0", "mode": "warn" })
    );
    assert_eq!(
        report["rejected"],
        json!([
            { "column": "v", "reason": "type", "count": 2, "example": "a" },
            { "column": "id", "reason": "null", "count": 1, "example": null },
        ])
    );
    assert_eq!(
        report["warnings"],
        json!(["the run has 2 good rows, and contract `users` wants at least 100"])
    );
    assert_eq!(report["dead_letter"][0]["rows"], 3);
    // The state is the reader's, whatever the commit carried.
    let state = cli(&case.dir, &["state", "show", "job.yaml", "--json"]).json();
    assert_eq!(state["state"], report["state"]);
    assert!(!report["state"].to_string().contains("dativo"), "{report}");
    // A run that finds nothing new breaks no rule about all rows.
    let again = case.run_json();
    assert_eq!(
        (&again["rows_read"], &again["warnings"]),
        (&json!(0), &json!([]))
    );
}

#[test]
fn a_plan_and_a_check_show_the_mapping() {
    let case = Case::new(
        "warn",
        "id,email,seen,extra\n1,a@b.c,2013-01-01T06:00:00Z,x\n",
        "",
        "schema:\n- { name: id, type: int32, required: true }\n\
         - { name: email, type: string, classification: pii }\n\
         - { name: seen, type: \"timestamp(ms, UTC)\", classification: internal }\n\
         - { name: note, type: json }\n\
         classifications: { pii: { mask: hash } }\ndataset: { unknown_columns: add }\n",
    );
    let check = cli(&case.dir, &["check", "job.yaml"]);
    assert_eq!(check.code, 0, "{check:?}");
    check_golden("check", &seen(&check));
    let plan = cli(&case.dir, &["plan", "job.yaml", "--json"]).json();
    let lines = plan["contract"]["columns"].as_array().unwrap();
    let hows: Vec<&Value> = lines.iter().map(|line| &line["how"]).collect();
    assert_eq!(
        hows,
        [
            "converted",
            "same",
            "converted",
            "filled_with_null",
            "added"
        ]
    );
    assert_eq!(
        plan["dead_letter"]["granted"][0]["target"],
        "read rejected/**"
    );
    assert_eq!(plan["contract"]["columns"][1]["classification"], "pii");
}
