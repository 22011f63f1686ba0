//! The only module that prints: results on standard output, everything else on standard error.

pub mod contract;
pub mod errors;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::error::Error;
use crate::pipeline::{Metrics, RunReport, Status, Totals};

/// How often a line of progress is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often a progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How log lines look on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Warnings and what components say, as text.
    Text,
    /// Every event as one JSON object a line, with run id, tenant and counts.
    Json,
}

/// Starts logging. `DATIVO_LOG` overrides what is shown (`debug`, `dativo_wasm=debug`). What libraries say below a warning
/// is never shown: those that send requests print headers, and with them secrets.
pub fn start_logging(format: LogFormat) {
    use tracing_subscriber::filter::{FilterExt, filter_fn};
    use tracing_subscriber::prelude::*;
    use tracing_subscriber::{EnvFilter, fmt};
    let default = match format {
        LogFormat::Text => "warn,guest=info",
        LogFormat::Json => "warn,guest=info,dativo_wasm=info",
    };
    let filter = EnvFilter::try_from_env("DATIVO_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let is_safe = filter_fn(|event| {
        let is_ours = ["dativo_wasm", "guest"]
            .iter()
            .any(|own| event.target().starts_with(own));
        is_ours || *event.level() <= tracing::Level::WARN
    });
    let filter = filter.and(is_safe);
    let layer = fmt::layer().with_writer(std::io::stderr);
    // A second start (in tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => {
            let layer = layer.with_target(false).with_ansi(false);
            tracing_subscriber::registry()
                .with(layer.with_filter(filter))
                .try_init()
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true);
            tracing_subscriber::registry()
                .with(layer.with_filter(filter))
                .try_init()
        }
    };
}

/// Prints a result on standard output. A reader that went away is not an error.
pub fn result(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a result as JSON on standard output.
pub fn json(value: &Value) {
    result(&value.to_string());
}

/// Prints a remark on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Standard input and output, for a process that another one started.
pub fn pipes() -> (impl std::io::Read, impl std::io::Write) {
    (std::io::stdin().lock(), std::io::stdout().lock())
}

/// Prints errors on standard error, as text.
pub fn errors(errors: &[Error]) {
    for error in errors {
        note(&errors::render(error));
    }
}

/// Shows the progress of a run until dropped: a bar on a terminal, plain lines otherwise.
pub struct Progress(tokio::task::JoinHandle<()>);

impl Progress {
    pub fn show(metrics: Arc<Metrics>, quiet: bool) -> Self {
        Self(tokio::spawn(async move {
            match (quiet, std::io::stderr().is_terminal()) {
                (true, _) => {}
                (false, true) => bar(&metrics).await,
                (false, false) => lines(&metrics).await,
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn bar(metrics: &Metrics) {
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
        bar.set_style(style);
    }
    let start = Instant::now();
    let bar = ClearOnDrop(bar);
    loop {
        tokio::time::sleep(DRAW_EVERY).await;
        let totals = metrics.totals();
        bar.0.set_position((totals.progress * 1000.0) as u64);
        bar.0.set_message(format!(
            "{}{}",
            describe(totals, start.elapsed()),
            by_split(&metrics.rows_by_split())
        ));
    }
}

struct ClearOnDrop(ProgressBar);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn lines(metrics: &Metrics) {
    let start = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let totals = metrics.totals();
        let percent = totals.progress * 100.0;
        note(&format!(
            "{percent:.0}%  {}",
            describe(totals, start.elapsed())
        ));
    }
}

/// `1,204,000 rows, 801,000 rows/s, 92 MiB/s`.
fn describe(totals: Totals, elapsed: Duration) -> String {
    let per_second = |count: u64| (count as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    format!(
        "{} rows, {} rows/s, {}/s",
        HumanCount(totals.rows_read),
        HumanCount(per_second(totals.rows_read)),
        HumanBytes(per_second(totals.bytes_read))
    )
}

/// ` (split 0: 600,000, split 1: 604,000)`, where there is more than one.
fn by_split(rows: &[u64]) -> String {
    if rows.len() < 2 {
        return String::new();
    }
    let each: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(index, rows)| format!("{index}: {}", HumanCount(*rows)))
        .collect();
    format!(" (split {})", each.join(", "))
}

/// Prints the summary of a run.
pub fn run(report: &RunReport) {
    for recovered in &report.recovered {
        note(&format!(
            "run {} was cut short; {}",
            recovered.run_id,
            recovered.outcome.sentence()
        ));
    }
    for warning in &report.warnings {
        note(&format!("warning: {}", errors::one_line(warning)));
    }
    if let Some(error) = &report.error {
        errors(std::slice::from_ref(error));
        note(&format!(
            "job `{}` {}, run {}",
            report.job,
            report.status.name(),
            report.run_id
        ));
        return;
    }
    let took = Duration::from_millis(report.duration_ms);
    let rate = (report.rows_read as f64 / took.as_secs_f64().max(0.001)) as u64;
    result(&format!(
        "job `{}`: {} rows read, {} written{}{} in {:.2} s ({} rows/s), {} published, peak memory {}",
        report.job,
        HumanCount(report.rows_read),
        HumanCount(report.rows_written),
        match report.rows_rejected {
            0 => String::new(),
            rows => format!(", {} rejected", HumanCount(rows)),
        },
        match report.retries {
            0 => String::new(),
            1 => ", 1 retry".to_owned(),
            retries => format!(", {retries} retries"),
        },
        took.as_secs_f64(),
        HumanCount(rate),
        HumanBytes(report.bytes_written),
        HumanBytes(report.peak_memory_bytes)
    ));
    if let Some(http) = report.http {
        result(&format!(
            "  http  {} requests, {} retries, {:.1} s waited, {} received",
            HumanCount(http.requests),
            HumanCount(http.retries),
            Duration::from_millis(http.waited_ms).as_secs_f64(),
            HumanBytes(http.received_bytes)
        ));
    }
    for output in report.outputs.iter().chain(&report.dead_letter) {
        let checksum = output.checksum.as_deref().unwrap_or("no checksum");
        result(&format!(
            "  {}  {} rows, {}, {checksum}",
            output.path,
            HumanCount(output.rows),
            HumanBytes(output.bytes)
        ));
    }
    for tally in &report.rejected {
        result(&format!(
            "  rejected  {}",
            errors::one_line(&tally.sentence())
        ));
    }
    if report.status == Status::Success && report.splits == 0 {
        result(
            "  nothing new since the last commit; `dativo-wasm state reset JOB` reads everything again",
        );
    }
}
