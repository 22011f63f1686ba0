//! What is answered, as JSON. Paths of this machine are cut to their last name, whatever message they stand in.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::fleet::Broken;
use super::super::views::{ActiveView, JobView};
use crate::error::Error;
use crate::runs::{JobKey, Listed};

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// A word for programs.
    kind: &'static str,
    /// A line for people.
    message: String,
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, message: &str) -> Self {
        Self {
            status,
            kind,
            message: message.to_owned(),
        }
    }

    pub fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub fn unauthorized() -> Self {
        let message = "send `Authorization: Bearer TOKEN`; the operator gives tokens";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub fn too_many() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "ask less often",
        )
    }

    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request failed",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

#[derive(Serialize, ToSchema)]
pub struct Jobs {
    jobs: Vec<Job>,
    /// Files that are no jobs now.
    broken: Vec<BrokenFile>,
}

#[derive(Serialize, ToSchema)]
pub struct Job {
    tenant: String,
    job: String,
    /// As the job says it; none where it runs on demand alone.
    schedule: Option<String>,
    timezone: Option<String>,
    /// When its schedule is due next.
    next: Option<String>,
    active: Option<ActiveRun>,
}

/// A run that goes on, or waits for its turn.
#[derive(Serialize, ToSchema)]
pub struct ActiveRun {
    run_id: String,
    /// `schedule`, `catch_up`, `retry`, `trigger` or `recovery`.
    cause: &'static str,
    /// From 1.
    attempt: u32,
    /// None while it waits.
    began: Option<String>,
    progress: Progress,
}

#[derive(Serialize, ToSchema)]
pub struct Progress {
    splits: usize,
    rows_read: u64,
    rows_written: u64,
    rows_rejected: u64,
    /// Of Arrow memory.
    bytes_read: u64,
    /// From 0 to 1; 0 where the reader does not know.
    share: f64,
}

#[derive(Serialize, ToSchema)]
pub struct BrokenFile {
    file: String,
    tenant: Option<String>,
    errors: Vec<Fault>,
}

/// What is wrong, and what can be done.
#[derive(Serialize, ToSchema)]
pub struct Fault {
    kind: String,
    message: String,
    hint: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub struct Triggered {
    pub run_id: String,
}

#[derive(Serialize, ToSchema)]
pub struct Runs {
    runs: Vec<Run>,
    /// `before` of the next page; none at the end.
    next: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct Run {
    run_id: String,
    tenant: String,
    job: String,
    /// `waiting`, `running`, `pending`, `committed`, `empty`, `failed`, `cancelled` or `removed`.
    status: String,
    cause: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
    rows_rejected: Option<u64>,
    bytes_written: Option<u64>,
    duration_ms: Option<u64>,
    splits: Option<u64>,
    retries: Option<u64>,
    files: Option<u64>,
    warnings: Vec<String>,
    components: Vec<Component>,
    /// What it could reach. A path is cut to its last name.
    grants: Vec<Reach>,
    error: Option<Fault>,
    active: Option<ActiveRun>,
}

/// One grant of a component, as `dativo-wasm plan` prints it.
#[derive(Serialize, ToSchema)]
pub struct Reach {
    component: String,
    capability: String,
    target: String,
    /// The key of the job that says so.
    origin: String,
    /// The pattern of the operator that covers it, where there are such.
    allowed_by: Option<String>,
}

/// The code that ran.
#[derive(Serialize, ToSchema)]
pub struct Component {
    name: String,
    version: String,
    /// `sha256:` and the SHA-256 of its `.wasm` file.
    digest: String,
}

/// What is wrong with a job file.
#[derive(Serialize, ToSchema)]
pub struct Validated {
    valid: bool,
    errors: Vec<Fault>,
}

impl Jobs {
    pub fn new(jobs: Vec<JobView>, broken: Vec<Broken>) -> Self {
        let broken = broken.into_iter().map(|broken| BrokenFile {
            file: broken
                .file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            tenant: broken.tenant,
            errors: broken.errors.iter().map(Fault::from).collect(),
        });
        Self {
            jobs: jobs.into_iter().map(Job::from).collect(),
            broken: broken.collect(),
        }
    }
}

impl From<JobView> for Job {
    fn from(job: JobView) -> Self {
        let (schedule, timezone) = job.schedule.unzip();
        Self {
            tenant: job.key.tenant,
            job: job.key.job,
            schedule,
            timezone,
            next: job.next.map(time),
            active: job.active.map(ActiveRun::from),
        }
    }
}

impl From<ActiveView> for ActiveRun {
    fn from(active: ActiveView) -> Self {
        let totals = active.totals;
        Self {
            run_id: active.run_id,
            cause: active.cause,
            attempt: active.attempt,
            began: active.began.map(time),
            progress: Progress {
                splits: totals.splits,
                rows_read: totals.rows_read,
                rows_written: totals.rows_written,
                rows_rejected: totals.rows_rejected,
                bytes_read: totals.bytes_read,
                share: totals.progress,
            },
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            message: without_paths(error.message()),
            hint: error.hint_text().map(without_paths),
            line: error.location().map(|place| place.line),
            column: error.location().map(|place| place.column),
        }
    }
}

impl Runs {
    pub fn new(listed: Vec<Listed>, limit: u32) -> Self {
        let is_full = listed.len() == limit as usize;
        let next = listed.last().filter(|_| is_full).map(|last| last.place);
        let runs = listed.into_iter().map(|listed| Run::new(listed, None));
        Self {
            runs: runs.collect(),
            next,
        }
    }
}

impl Run {
    pub fn new(listed: Listed, active: Option<ActiveView>) -> Self {
        let report: Value = listed
            .report
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let number = |key: &str| report[key].as_u64();
        let texts = report["warnings"].as_array().into_iter().flatten();
        let components = report["components"].as_array().into_iter().flatten();
        let grants = report["grants"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut row = listed.row;
        if active.is_some() && row.ended_at.take().is_some() {
            // Its report is on its way.
            "running".clone_into(&mut row.status);
        }
        let error = match &report["error"] {
            // A run of `dativo-wasm run` has no report here.
            Value::Null if row.status == "failed" => {
                let detail = row.detail.as_deref().unwrap_or_default();
                let (kind, message) = detail.split_once(": ").unwrap_or(("failed", detail));
                Some(Fault {
                    kind: kind.to_owned(),
                    message: without_paths(message),
                    hint: None,
                    line: None,
                    column: None,
                })
            }
            Value::Null => None,
            error => Some(Fault {
                kind: text(&error["kind"]),
                message: without_paths(&text(&error["message"])),
                hint: error["hint"].as_str().map(without_paths),
                line: None,
                column: None,
            }),
        };
        Self {
            run_id: row.run_id,
            tenant: row.tenant,
            job: row.job,
            status: row.status,
            cause: listed.cause,
            started: seconds(row.started_at),
            ended: row.ended_at.and_then(seconds),
            rows_read: number("rows_read"),
            rows_written: number("rows_written"),
            rows_rejected: number("rows_rejected"),
            bytes_written: number("bytes_written"),
            duration_ms: number("duration_ms"),
            splits: number("splits"),
            retries: number("retries"),
            files: number("files"),
            warnings: texts.map(|value| without_paths(&text(value))).collect(),
            components: components
                .map(|component| Component {
                    name: text(&component["name"]),
                    version: text(&component["version"]),
                    digest: text(&component["digest"]),
                })
                .collect(),
            grants: grants
                .map(|grant| Reach {
                    component: text(&grant["component"]),
                    capability: text(&grant["capability"]),
                    target: without_paths(&text(&grant["target"])),
                    origin: text(&grant["origin"]),
                    allowed_by: grant["allowed_by"].as_str().map(without_paths),
                })
                .collect(),
            error,
            active: active.map(ActiveRun::from),
        }
    }

    /// One that has not begun.
    pub fn waiting(key: JobKey, active: ActiveView) -> Self {
        Self {
            run_id: active.run_id.clone(),
            tenant: key.tenant,
            job: key.job,
            status: "waiting".to_owned(),
            cause: Some(active.cause.to_owned()),
            started: None,
            ended: None,
            rows_read: None,
            rows_written: None,
            rows_rejected: None,
            bytes_written: None,
            duration_ms: None,
            splits: None,
            retries: None,
            files: None,
            warnings: Vec::new(),
            components: Vec::new(),
            grants: Vec::new(),
            error: None,
            active: Some(active.into()),
        }
    }
}

impl Validated {
    pub fn new(errors: &[Error]) -> Self {
        Self {
            valid: errors.is_empty(),
            errors: errors.iter().map(Fault::from).collect(),
        }
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn seconds(seconds: i64) -> Option<String> {
    let time = DateTime::from_timestamp(seconds, 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The text with each absolute path cut to its last name.
fn without_paths(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "`'\"()[]{},;".contains(c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let path = word.strip_prefix("file://").unwrap_or(word);
        match path.strip_prefix('/').filter(|below| !below.is_empty()) {
            Some(below) => {
                let name = below
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                shown.push_str("…/");
                shown.push_str(name);
            }
            None => shown.push_str(word),
        }
        let mut chars = after.chars();
        shown.extend(chars.next());
        rest = chars.as_str();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine_do_not_leave_it() {
        for (text, shown) in [
            (
                "cannot read `/srv/jobs/acme/a.yaml`: denied",
                "cannot read `…/a.yaml`: denied",
            ),
            (
                "`file:///data/lake/t/x.parquet` is gone",
                "`…/x.parquet` is gone",
            ),
            (
                "GET https://api.example/v1/users",
                "GET https://api.example/v1/users",
            ),
            ("s3://lake/acme/a and 1/2", "s3://lake/acme/a and 1/2"),
            ("(/etc/passwd)", "(…/passwd)"),
            ("/", "/"),
            ("a / b é/x", "a / b é/x"),
        ] {
            assert_eq!(without_paths(text), shown);
        }
    }
}
