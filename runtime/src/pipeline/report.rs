//! What a run did, as `run --json` prints it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::settle::Committed;
use super::{Metrics, Ready, Recovered, Totals};
use crate::capabilities::http;
use crate::component::{ComponentRef, Output};
use crate::contract::{Contract, Tally};
use crate::error::{Error, Kind, Result};
use crate::plan::{ComponentPlan, Grant, Plan};

/// The summary of a run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    pub run_id: String,
    pub job: String,
    pub tenant: String,
    pub status: Status,
    /// Pieces that were read side by side; 0 where there was nothing new to read.
    pub splits: usize,
    /// Times that a split was read again from its start, since its source was lost.
    pub retries: u64,
    pub rows_read: u64,
    /// Rows that this run made visible at the target.
    pub rows_written: u64,
    /// Rows that the contract refused and the dead letter took.
    pub rows_rejected: u64,
    /// Bytes of the published objects.
    pub bytes_written: u64,
    pub outputs: Vec<Output>,
    /// The code that ran: the reader, then the writer.
    pub components: Vec<ComponentRef>,
    /// What it could reach, as `plan` prints it: the grants of the reader, of the writer and of the dead letter's.
    pub grants: Vec<Reach>,
    pub contract: Option<Terms>,
    /// Which rules the rejected rows broke, the most frequent first.
    pub rejected: Vec<Tally>,
    /// The published objects of the dead letter.
    pub dead_letter: Vec<Output>,
    /// What is remarkable and did not end the run.
    pub warnings: Vec<String>,
    /// What the components asked of HTTP, where they use it.
    pub http: Option<http::UsageReport>,
    /// What else the writer reported.
    pub details: Option<Value>,
    /// The state that the target holds after this run.
    pub state: Option<Value>,
    /// Earlier runs that were cut short, and what became of them.
    pub recovered: Vec<Recovered>,
    pub duration_ms: u64,
    /// From the start of the process to its first batch, where there was one.
    pub first_batch_ms: Option<u64>,
    /// The most memory that the process had resident so far.
    pub peak_memory_bytes: u64,
    #[serde(serialize_with = "error_json")]
    pub error: Option<Error>,
    /// The run store knows it. Otherwise another run of the job was active, or the store could not be asked.
    #[serde(skip)]
    pub has_begun: bool,
}

/// One grant of a component.
#[derive(Debug, Serialize)]
pub struct Reach {
    pub component: String,
    #[serde(flatten)]
    pub grant: Grant,
}

fn reach(plan: &Plan) -> Vec<Reach> {
    let sides = [&plan.reader, &plan.writer]
        .into_iter()
        .chain(&plan.dead_letter);
    let reach = |side: &ComponentPlan| {
        let granted = side.granted.iter().map(|grant| Reach {
            component: side.component.clone(),
            grant: grant.clone(),
        });
        granted.collect::<Vec<_>>()
    };
    sides.flat_map(reach).collect()
}

/// The contract that a run was held to.
#[derive(Debug, Serialize)]
pub struct Terms {
    pub name: String,
    pub version: String,
    pub mode: &'static str,
}

impl Terms {
    fn of(contract: &Contract) -> Self {
        Self {
            name: contract.name.clone(),
            version: contract.version.clone(),
            mode: contract.mode.name(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Success,
    Failed,
    Cancelled,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl RunReport {
    pub(super) fn new(run_id: String, ready: &Ready) -> Self {
        Self {
            run_id,
            job: ready.job.clone(),
            tenant: ready.tenant.clone(),
            status: Status::Success,
            splits: 0,
            retries: 0,
            rows_read: 0,
            rows_written: 0,
            rows_rejected: 0,
            bytes_written: 0,
            outputs: Vec::new(),
            components: vec![
                ready.reader.component.reference(),
                ready.writer.component.reference(),
            ],
            grants: reach(&ready.plan),
            contract: ready.contract.as_deref().map(Terms::of),
            rejected: Vec::new(),
            dead_letter: Vec::new(),
            warnings: Vec::new(),
            http: None,
            details: None,
            state: None,
            recovered: Vec::new(),
            duration_ms: 0,
            first_batch_ms: None,
            peak_memory_bytes: 0,
            error: None,
            has_begun: false,
        }
    }

    pub(super) fn set_committed(&mut self, committed: &Committed, totals: Totals) {
        let receipt = &committed.receipt;
        self.rows_written = totals.rows_written;
        self.rows_rejected = totals.rows_rejected;
        self.dead_letter = committed.dead_letter.clone();
        self.bytes_written = receipt.outputs.iter().map(|output| output.bytes).sum();
        self.outputs = receipt.outputs.clone();
        self.details = receipt.details.clone();
    }

    /// What is kept and told of a run: counts and words, not the state and the list of files, which the target has.
    pub fn summary(&self) -> Value {
        let mut summary = json!(self);
        if let Some(summary) = summary.as_object_mut() {
            for key in ["state", "outputs", "details", "dead_letter", "recovered"] {
                summary.remove(key);
            }
            summary.insert("files".to_owned(), json!(self.outputs.len()));
        }
        summary
    }

    /// A component's state is text; where it is JSON it is shown as such.
    pub(super) fn set_state(&mut self, state: Option<&str>) {
        self.state = state.map(state_json);
    }

    pub(super) fn receipt_json(&self) -> String {
        let mut receipt = json!({ "outputs": self.outputs, "details": self.details });
        if !self.dead_letter.is_empty() {
            receipt["dead_letter"] = json!(self.dead_letter);
        }
        receipt.to_string()
    }

    pub(super) fn set_http(&mut self, usage: &[Arc<http::Usage>]) {
        let each = usage.iter().map(|usage| usage.report());
        self.http = each.reduce(http::UsageReport::plus);
        let answers = match self.http.map_or(0, |http| http.concealed) {
            0 => return,
            1 => "an answer".to_owned(),
            count => format!("{count} answers"),
        };
        self.warnings.push(format!(
            "{answers} held the value of a secret, and the component was given a placeholder in its place"
        ));
    }

    pub(super) fn finish(&mut self, outcome: Result<()>, metrics: &Metrics, took: Duration) {
        self.error = outcome.err();
        self.status = match self.error.as_ref().map(Error::kind) {
            None => Status::Success,
            Some(Kind::Cancelled) => Status::Cancelled,
            Some(_) => Status::Failed,
        };
        let totals = metrics.totals();
        self.retries = totals.retries;
        self.rows_read = totals.rows_read;
        self.first_batch_ms = metrics.first_batch().map(millis);
        self.duration_ms = millis(took);
        self.peak_memory_bytes = crate::memory::peak_bytes();
    }
}

/// A component's state as JSON where it is JSON, else as text.
pub fn state_json(state: &str) -> Value {
    serde_json::from_str(state).unwrap_or_else(|_| Value::String(state.to_owned()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn error_json<S: serde::Serializer>(error: &Option<Error>, to: S) -> Result<S::Ok, S::Error> {
    error
        .as_ref()
        .map(crate::report::errors::to_json)
        .serialize(to)
}
