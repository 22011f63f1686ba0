//! Spans of runs, sent by OTLP over HTTP as the variables `OTEL_*` say.
//!
//! One for a run, below it one for each split, and one for all that an instance called of a capability.
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification".

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanKind, Status as SpanStatus, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::client::Client;
use crate::error::{Error, Kind, Result};
use crate::pipeline::RunReport;
use crate::trace::{Span, What};

/// Where either is set, spans are sent.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];

const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Exporter {
    pub fn from_environment() -> Result<Option<Self>> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value == "true");
        if is_disabled || !ENDPOINTS.iter().any(is_set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new()?)
            .build();
        let exporter = exporter.map_err(|error| {
            Error::new(Kind::JobInvalid, "the variables `OTEL_EXPORTER_OTLP_*` are not valid")
                .caused_by(error)
                .hint("set `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318`, the collector's address for OTLP over HTTP")
        })?;
        let mut resource = Resource::builder();
        if !is_set(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("dativo-wasm");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("dativo-wasm");
        Ok(Some(Self { provider, tracer }))
    }

    /// Hands over the spans of a run that ended.
    pub fn export(&self, report: &RunReport, began: SystemTime, spans: Vec<Span>) {
        let run = Context::new().with_span(self.run(report, began));
        let (splits, calls): (Vec<Span>, Vec<Span>) = spans
            .into_iter()
            .partition(|span| matches!(span.what, What::Split { .. }));
        let mut parents = Vec::new();
        for span in &splits {
            if let What::Split { index, rows, error } = &span.what {
                let attributes = vec![
                    KeyValue::new("dativo.split", i64::from(*index)),
                    KeyValue::new("dativo.rows", number(*rows)),
                ];
                let mut own = self.start("split", span.start, attributes, &run);
                if let Some(kind) = error {
                    own.set_attribute(KeyValue::new("error.type", *kind));
                    own.set_status(SpanStatus::error(*kind));
                }
                parents.push((*index, span.end, run.with_span(own)));
            }
        }
        for span in calls {
            if let What::Calls {
                instance,
                capability,
                count,
            } = span.what
            {
                let split = split_of(&instance);
                let parent = parents.iter().find(|(index, ..)| Some(*index) == split);
                let parent = parent.map_or(&run, |(_, _, context)| context);
                let attributes = vec![
                    KeyValue::new("dativo.instance", instance),
                    KeyValue::new("dativo.calls", number(count)),
                ];
                let mut own = self.start(capability, span.start, attributes, parent);
                own.end_with_timestamp(span.end);
            }
        }
        for (_, end, split) in parents {
            split.span().end_with_timestamp(end);
        }
        run.span()
            .end_with_timestamp(began + Duration::from_millis(report.duration_ms));
    }

    fn run(&self, report: &RunReport, began: SystemTime) -> opentelemetry_sdk::trace::Span {
        let attributes = vec![
            KeyValue::new("dativo.run_id", report.run_id.clone()),
            KeyValue::new("dativo.tenant", report.tenant.clone()),
            KeyValue::new("dativo.job", report.job.clone()),
            KeyValue::new("dativo.status", report.status.name()),
            KeyValue::new("dativo.rows_read", number(report.rows_read)),
            KeyValue::new("dativo.rows_written", number(report.rows_written)),
            KeyValue::new("dativo.rows_rejected", number(report.rows_rejected)),
            KeyValue::new("dativo.bytes_written", number(report.bytes_written)),
            KeyValue::new("dativo.retries", number(report.retries)),
        ];
        let mut span = self.start("run", began, attributes, &Context::new());
        if let Some(error) = &report.error {
            span.set_attribute(KeyValue::new("error.type", error.kind().name()));
            span.set_status(SpanStatus::error(error.message().to_owned()));
        }
        span
    }

    fn start(
        &self,
        name: &'static str,
        start: SystemTime,
        attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> opentelemetry_sdk::trace::Span {
        let span = self.tracer.span_builder(name);
        let span = span
            .with_kind(SpanKind::Internal)
            .with_start_time(start)
            .with_attributes(attributes);
        span.start_with_context(&self.tracer, parent)
    }

    /// Sends what was not sent yet.
    pub async fn close(&self) {
        let provider = self.provider.clone();
        let closing =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(CLOSE_TIMEOUT));
        if let Ok(Err(error)) = closing.await {
            tracing::warn!(%error, "spans of the last runs were not sent");
        }
    }
}

/// The split that an instance such as `reader csv, split 1` works for.
fn split_of(instance: &str) -> Option<u32> {
    let (_, rest) = instance.split_once(", split ")?;
    let digits = rest.split(',').next()?;
    digits.parse().ok()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_names_its_split() {
        assert_eq!(split_of("reader `csv`, split 3"), Some(3));
        assert_eq!(split_of("writer `x`, split 12, retry 1"), Some(12));
        assert_eq!(split_of("writer, commit"), None);
    }
}
