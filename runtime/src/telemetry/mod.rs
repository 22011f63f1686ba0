//! Tells the operator of each run: spans to a collector of OpenTelemetry, a summary to a file or a webhook.
//!
//! Whether they arrive changes nothing of a run. They hold what a report holds, and no secret.

mod client;
mod spans;
mod summaries;

use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::pipeline::RunReport;
use crate::trace::Trace;
use spans::Exporter;
use summaries::Summaries;

/// Where a process tells of its runs.
#[derive(Default)]
pub struct Telemetry {
    spans: Option<Exporter>,
    summaries: Option<Summaries>,
}

impl Telemetry {
    /// Spans go where `OTEL_EXPORTER_OTLP_ENDPOINT` says, summaries to `summaries`: a path, or an `http` URL. To be called on a runtime.
    pub fn start(summaries: Option<&str>) -> Result<Self> {
        Ok(Self {
            spans: Exporter::from_environment()?,
            summaries: summaries.map(Summaries::to).transpose()?,
        })
    }

    /// What a run is to write down of itself.
    pub fn trace(&self) -> Option<Arc<Trace>> {
        self.spans.is_some().then(Arc::default)
    }

    pub fn run_ended(&self, report: &RunReport, began: SystemTime, trace: Option<&Trace>) {
        if let (Some(spans), Some(trace)) = (&self.spans, trace) {
            spans.export(report, began, trace.take());
        }
        self.summary(&report.summary().to_string());
    }

    /// The summary of a run that did not begin.
    pub fn summary(&self, summary: &str) {
        if let Some(summaries) = &self.summaries {
            summaries.send(summary);
        }
    }

    /// Sends what is on its way, for some seconds.
    pub async fn close(&self) {
        if let Some(summaries) = &self.summaries {
            summaries.close().await;
        }
        if let Some(spans) = &self.spans {
            spans.close().await;
        }
    }
}
