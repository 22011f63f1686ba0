//! Figures for Prometheus. A tenant sees its own counters; the operator those of all, and figures of the process.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::Api;
use super::answers::Problem;
use super::auth::Caller;
use crate::serve::Counts;

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    tenant: String,
}

type Count = (&'static str, &'static str, fn(&Counts) -> u64);

/// Counters, with what is said of each.
const COUNTS: [Count; 7] = [
    ("runs_succeeded", "Runs that ended well", |counts| {
        counts.succeeded
    }),
    ("runs_failed", "Runs that failed", |counts| counts.failed),
    ("runs_cancelled", "Runs that were stopped", |counts| {
        counts.cancelled
    }),
    (
        "runs_skipped",
        "Times of schedules at which the run before had not ended",
        |counts| counts.skipped,
    ),
    ("rows_written", "Rows that runs made visible", |counts| {
        counts.rows_written
    }),
    (
        "written_bytes",
        "Bytes of the objects that runs published",
        |counts| counts.bytes_written,
    ),
    (
        "run_duration_milliseconds",
        "Time that runs took, from their leases to their ends",
        |counts| counts.milliseconds,
    ),
];

pub async fn metrics(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry(&api, &caller)) {
        Ok(()) => ([("content-type", FORMAT)], text).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

fn registry(api: &Api, caller: &Caller) -> Registry {
    let mut registry = Registry::with_prefix("dativo");
    let of_tenants = api.server.counts(caller.tenant());
    for (name, help, value) in COUNTS {
        let family = Family::<OfTenant, Counter>::default();
        for (tenant, counts) in &of_tenants {
            let tenant = tenant.clone();
            family
                .get_or_create(&OfTenant { tenant })
                .inc_by(value(counts));
        }
        registry.register(name, help, family);
    }
    if *caller != Caller::Operator {
        return registry;
    }
    let (jobs, active, waiting, memory_bytes, up) = api.server.figures();
    for (name, help, value) in [
        ("jobs", "Jobs of the folder", jobs as u64),
        ("runs_active", "Runs that go on", active as u64),
        (
            "runs_waiting",
            "Runs that wait for their turn",
            waiting as u64,
        ),
        (
            "runs_memory_limit_bytes",
            "Memory that active runs may take",
            memory_bytes,
        ),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    registry.register(
        "up_seconds",
        "Since the process started",
        ConstGauge::new(up.as_secs_f64()),
    );
    registry
}
