//! Hostile components: each breaks one rule, ends with the right kind of error within its limit, and
//! leaves the host able to run the next job in the same process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dativo_wasm::component::{Components, Stop, Where};
use dativo_wasm::job::{self, LoadOptions};
use dativo_wasm::pipeline::{self, Context, Metrics, Ready, RunReport};
use dativo_wasm::plugins::Plugins;
use dativo_wasm::runs::RunStore;

use crate::support::{TestDir, test_guests};

/// Runs the hostile reader with `attack` under `limits`, in this process.
fn run(attack: &str, limits: &str) -> RunReport {
    let dir = TestDir::new();
    let file = dir.write(
        "hostile.yaml",
        &format!(
            "tenant_id: t\nsource: {{ reader: {{ type: custom, implementation: hostile, \
             config: {{ attack: {attack} }} }} }}\n\
             target: {{ writer: {{ type: custom, implementation: discard }} }}\n\
             limits: {{ {limits} }}\n"
        ),
    );
    in_process(&file, dir.path())
}

fn in_process(job: &Path, dir: &Path) -> RunReport {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let job = job::load(job, &LoadOptions::default());
        let components = Components::start(None, Where::Here).unwrap();
        let plugins = Plugins::new(&test_guests());
        let ready = match Ready::new(job, &components, &plugins).await {
            Ok(ready) => ready,
            Err(errors) => panic!("{}", errors[0]),
        };
        let context = Context {
            run_id: pipeline::new_run_id(),
            beginning: None,
            store: RunStore::open(&format!("sqlite://{}/s.db", dir.display())).unwrap(),
            metrics: Arc::<Metrics>::default(),
            telemetry: Arc::default(),
            parallelism: std::num::NonZeroU32::MIN,
            stop: Stop::never(),
        };
        pipeline::run(ready, &context).await
    })
}

/// Attack, the job's limits, the kind of error, a part of its text, and the time it may take.
const ATTACKS: &[(&str, &str, &str, &str, u64)] = &[
    (
        "endless-loop",
        "cpu_per_call: 300ms",
        "limit_exceeded",
        "more CPU time in `batches.next`",
        5,
    ),
    (
        "memory-bomb",
        "memory: 64MiB",
        "limit_exceeded",
        "the limit is 64 MiB",
        10,
    ),
    (
        "table-bomb",
        "memory: 64MiB",
        "limit_exceeded",
        "the limit is 64 MiB",
        10,
    ),
    (
        "stack-overflow",
        "",
        "limit_exceeded",
        "overflowed its stack",
        10,
    ),
    (
        "memory-stack-overflow",
        "",
        "guest_trapped",
        "out of bounds memory access",
        10,
    ),
    (
        "sleep",
        "call_timeout: 1s",
        "limit_exceeded",
        "did not return from `batches.next`",
        5,
    ),
    (
        "endless-rows",
        "deadline: 2s, batch_rows: 16",
        "limit_exceeded",
        "the run took longer",
        10,
    ),
    ("million-handles", "", "limit_exceeded", "65536 handles", 20),
    (
        "host-memory",
        "memory: 64MiB",
        "limit_exceeded",
        "the limit is 64 MiB",
        10,
    ),
    ("not-arrow", "", "data_invalid", "not valid Arrow IPC", 10),
    ("empty-ipc", "", "data_invalid", "not valid Arrow IPC", 10),
    ("bad-offsets", "", "data_invalid", "not valid Arrow IPC", 10),
    ("bad-utf8", "", "data_invalid", "not valid Arrow IPC", 10),
    (
        "schema-not-arrow",
        "",
        "data_invalid",
        "not valid Arrow IPC",
        10,
    ),
    (
        "too-many-rows",
        "batch_rows: 100",
        "data_invalid",
        "has 101 rows, and at most 100",
        10,
    ),
    (
        "other-schema",
        "",
        "contract_broken",
        "`n` changed from Int64 to Utf8",
        10,
    ),
    (
        "wrong-handle",
        "",
        "guest_trapped",
        "broke the contract",
        10,
    ),
    ("no-handle", "", "guest_trapped", "broke the contract", 10),
    ("panic", "", "guest_trapped", "panicked in next", 10),
    ("open-panic", "", "guest_trapped", "panicked in open", 10),
    ("open-error", "", "job_invalid", "not to my taste", 10),
    ("call-after-error", "", "rejected", "failed once", 10),
    ("loud-error", "", "rejected", "long long", 10),
    ("empty-forever", "", "guest_failed", "without a row", 60),
    (
        "too-many-splits",
        "",
        "guest_failed",
        "2 splits where at most 1",
        10,
    ),
];

#[test]
fn every_attack_ends_with_its_error_and_the_host_goes_on() {
    for (attack, limits, kind, text, seconds) in ATTACKS {
        let start = Instant::now();
        let report = run(attack, limits);
        let error = report
            .error
            .unwrap_or_else(|| panic!("{attack} did no harm"));
        let shown = error.to_string();
        assert_eq!(error.kind().name(), *kind, "{attack}: {shown}");
        assert!(shown.contains(text), "{attack}: {shown}");
        assert!(
            shown.len() < 10_000 && !shown.contains('\x1b'),
            "{attack}: an unbounded message"
        );
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(*seconds),
            "{attack} took {took:?}"
        );

        let healthy = run("none", "");
        assert!(
            healthy.error.is_none(),
            "after {attack}: {:?}",
            healthy.error
        );
        assert_eq!(
            (healthy.rows_read, healthy.rows_written),
            (30, 30),
            "after {attack}"
        );
    }
}

#[test]
fn a_component_finds_no_file_no_socket_and_no_environment() {
    let report = run("escape", "");
    assert!(report.error.is_none(), "{:?}", report.error);
}

#[test]
fn a_flood_of_output_is_cut_and_does_no_harm() {
    let report = run("log-flood", "log: 4KiB");
    assert!(report.error.is_none(), "{:?}", report.error);
    assert_eq!(report.rows_read, 21);
}

#[test]
fn a_progress_that_is_no_number_does_no_harm() {
    let report = run("wild-progress", "");
    assert!(report.error.is_none(), "{:?}", report.error);
}
