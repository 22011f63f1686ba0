//! Figures for Prometheus. The operator's alone: they count over all tenants.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::Api;
use super::answers::Problem;
use super::auth::Caller;

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub async fn metrics(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Response {
    if caller != Caller::Operator {
        return Problem::not_found("there is nothing at this path").into_response();
    }
    let mut text = String::new();
    match encode(&mut text, &registry(&api)) {
        Ok(()) => ([("content-type", FORMAT)], text).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

fn registry(api: &Api) -> Registry {
    let (counts, jobs, active, waiting, memory_bytes, up) = api.server.figures();
    let mut registry = Registry::with_prefix("dativo");
    for (name, help, value) in [
        ("runs_succeeded", "Runs that ended well", counts.succeeded),
        ("runs_failed", "Runs that failed", counts.failed),
        ("runs_cancelled", "Runs that were stopped", counts.cancelled),
        (
            "runs_skipped",
            "Times of schedules at which the run before had not ended",
            counts.skipped,
        ),
        (
            "rows_written",
            "Rows that runs made visible",
            counts.rows_written,
        ),
        (
            "written_bytes",
            "Bytes of the objects that runs published",
            counts.bytes_written,
        ),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
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
