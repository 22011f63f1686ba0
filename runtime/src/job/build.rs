//! JobSpec → Job: units, names, secrets. The two endpoints are in `endpoints.rs`.
//!
//! Does no I/O but reading secrets.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::Value;

use super::aws::AwsSettings;
use super::check::{no_secrets_outside, value_problem};
use super::endpoints::Draft;
use super::implementation::Refusal;
use super::schedule::{Schedule, Timing};
use super::secrets::Resolver;
use super::spec::{JobSpec, LimitsSpec, ScheduleSpec, Size, Span};
use super::tenant;
use super::units::{self, GIB, KIB, MIB};
use super::yaml::{Document, escape};
use super::{Endpoint, Job, Limits, LoadOptions, was_refused};
use crate::error::{Error, Kind};

/// The job, if nothing is added to `problems`. What the schema has refused (`refused`, pointers) is
/// no longer in `spec` and is not reported again.
pub fn job(
    spec: JobSpec,
    document: &Arc<Document>,
    options: &LoadOptions,
    refused: &[String],
    problems: &mut Vec<Error>,
) -> Option<Job> {
    let mut builder = Builder {
        document,
        refused,
        problems,
    };
    let name = builder.name(spec.name);
    let timing = spec.schedule.and_then(|spec| builder.timing(&spec));
    let limits = builder.limits(&spec.limits.unwrap_or_default());
    let source = builder.source(
        spec.source.and_then(|source| source.reader),
        spec.source_connector,
    );
    let tenants = options.tenants_dir.as_deref();
    let operators = match (tenants, &spec.tenant_id) {
        (Some(dir), Some(tenant)) => tenant::load(dir, tenant, builder.problems),
        _ => tenant::Tenant::default(),
    };
    let target = builder.target(spec.target, spec.target_connector, operators.target);
    no_secrets_outside(
        document,
        &|pointer| CONFIGS.contains(&pointer),
        "a secret can stand for text under `config`, in `http.proxy` and the keys of `aws`, and for nothing else",
        builder.problems,
    );

    // Without a tenant there is no telling which secrets may be seen.
    let tenant = spec.tenant_id?;
    let mut resolver = Resolver::new(options.secrets_dir.as_deref(), &tenant)
        .without_environment(options.without_environment)
        .with_command(operators.secrets_command, &tenant);
    let source = source.map(|draft| builder.hide_secrets(draft, &mut resolver));
    let target = target.map(|draft| builder.hide_secrets(draft, &mut resolver));
    let http = builder.http(spec.http.unwrap_or_default(), &mut resolver);
    let aws = AwsSettings {
        tenant: tenant.clone(),
        ..builder.aws(spec.aws.unwrap_or_default(), &mut resolver)
    };
    let asset = spec.asset_path.as_deref();
    let asset = asset
        .filter(|path| builder.may_read(path, &operators.policy))
        .and_then(|path| builder.asset(path, &mut resolver));
    let dead_letter = spec.dead_letter.and_then(|dead_letter| dead_letter.path);
    builder.dead_letter(
        spec.asset_path.is_some(),
        asset.as_ref(),
        dead_letter.is_some(),
    );
    let dead_letter = dead_letter.map(|path| builder.dead_letter_endpoint(&path, &mut resolver));
    let secrets = resolver.finish();
    Some(Job {
        file: document.file().to_path_buf(),
        name: name?,
        tenant,
        environment: spec.environment,
        asset: spec.asset,
        source: source?,
        target: target?,
        timing,
        policy: operators.policy,
        limits,
        http,
        aws,
        parallelism: spec.parallelism.and_then(NonZeroU32::new),
        contract: asset.map(|asset| Arc::new(asset.finish(&secrets))),
        dead_letter,
        secrets,
    })
}

/// How often a run that failed for a reason that may pass is tried again.
const DEFAULT_RETRIES: u32 = 3;

pub struct Builder<'a> {
    pub document: &'a Arc<Document>,
    refused: &'a [String],
    pub problems: &'a mut Vec<Error>,
}

impl Builder<'_> {
    pub fn problem(&mut self, pointer: &str, message: &str, hint: &str) {
        let error = Error::new(Kind::JobInvalid, message)
            .at(self.document.locate(pointer))
            .hint(hint);
        self.problems.push(error);
    }

    /// Whether something under `pointer` has been refused, so that its absence here means nothing.
    pub fn was_refused(&self, pointer: &str) -> bool {
        was_refused(self.refused, pointer)
    }

    fn name(&mut self, name: Option<String>) -> Option<String> {
        if name.is_some() {
            return name;
        }
        let stem = self
            .document
            .file()
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let fits = (1..=128).contains(&stem.len())
            && !stem.starts_with('.')
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !fits && !self.was_refused("/name") {
            let message = format!("the file name `{stem}` cannot be the name of a job");
            let hint = "add `name: ...` with letters, digits, `_`, `-` and `.`";
            self.problem("", &message, hint);
        }
        fits.then(|| stem.to_owned())
    }

    fn timing(&mut self, spec: &ScheduleSpec) -> Option<Timing> {
        let timezone = spec.timezone.as_deref().unwrap_or("UTC");
        let timezone: Option<Tz> = timezone.parse().ok();
        if timezone.is_none() {
            let message = "`schedule.timezone` is no name of the IANA time zone database";
            self.problem(
                "/schedule/timezone",
                message,
                "write it like `Europe/Berlin` or `UTC`",
            );
        }
        let jitter = &spec.jitter;
        let hour = Duration::from_secs(3600);
        let jitter = self.span(
            "/schedule/jitter",
            jitter,
            Duration::ZERO,
            hour,
            Duration::ZERO,
        );
        let interval = spec.interval.as_deref()?;
        match Schedule::parse(interval, timezone.unwrap_or_default()) {
            Ok(schedule) => Some(Timing {
                schedule,
                overlap: spec.overlap.unwrap_or_default(),
                catch_up: spec.catch_up.unwrap_or_default(),
                jitter,
                retries: spec.retries.unwrap_or(DEFAULT_RETRIES),
            }),
            Err(must) => {
                let message = format!("`schedule.interval` {must}");
                let hint =
                    "`0 2 * * *` is daily at 02:00, `*/15 * * * *` or `every 15m` every 15 minutes";
                self.problem("/schedule/interval", &message, hint);
                None
            }
        }
    }

    fn limits(&mut self, spec: &LimitsSpec) -> Limits {
        let second = Duration::from_secs(1);
        let day = second * 24 * 60 * 60;
        let default = Limits::default();
        Limits {
            memory_bytes: self.size(
                "/limits/memory",
                &spec.memory,
                16 * MIB,
                8 * GIB,
                default.memory_bytes,
            ),
            call_timeout: self.span(
                "/limits/call_timeout",
                &spec.call_timeout,
                second,
                day,
                default.call_timeout,
            ),
            cpu_per_call: self.span(
                "/limits/cpu_per_call",
                &spec.cpu_per_call,
                second / 10,
                second * 3600,
                default.cpu_per_call,
            ),
            deadline: self.span(
                "/limits/deadline",
                &spec.deadline,
                second,
                day * 30,
                default.deadline,
            ),
            log_bytes: self.size(
                "/limits/log",
                &spec.log,
                4 * KIB,
                64 * MIB,
                default.log_bytes,
            ),
            batch_rows: spec.batch_rows.unwrap_or(default.batch_rows),
        }
    }

    pub fn size(
        &mut self,
        pointer: &str,
        size: &Option<Size>,
        min: u64,
        max: u64,
        default: u64,
    ) -> u64 {
        let Some(Size(value)) = size else {
            return default;
        };
        units::size(value, min..=max)
            .unwrap_or_else(|must| self.bound_problem(pointer, value, &must, default))
    }

    pub fn span(
        &mut self,
        pointer: &str,
        span: &Option<Span>,
        min: Duration,
        max: Duration,
        default: Duration,
    ) -> Duration {
        let Some(Span(value)) = span else {
            return default;
        };
        units::duration(value, min..=max)
            .unwrap_or_else(|must| self.bound_problem(pointer, value, &must, default))
    }

    fn bound_problem<T>(&mut self, pointer: &str, value: &Value, must: &str, default: T) -> T {
        self.problems
            .push(value_problem(self.document, pointer, value, must));
        default
    }

    pub fn hide_secrets(&mut self, draft: Draft, resolver: &mut Resolver) -> Endpoint {
        let written = Value::Object(draft.config);
        let mut config = written.clone();
        self.hide(&mut config, &draft.config_pointer, resolver);
        Endpoint {
            role: draft.role,
            implementation: draft.implementation,
            config,
            grants: draft.grants,
            written,
            document: Arc::clone(self.document),
            pointer: draft.pointer,
            implementation_pointer: draft.implementation_pointer,
            config_pointer: draft.config_pointer,
        }
    }

    pub fn hide(&mut self, value: &mut Value, pointer: &str, resolver: &mut Resolver) {
        match value {
            Value::String(text) => {
                let (hidden, refusals) = resolver.hide(text);
                *text = hidden;
                for (part, Refusal { message, hint }) in refusals {
                    let error = Error::new(Kind::JobInvalid, message)
                        .at(self.document.locate_part(pointer, &part))
                        .hint(hint);
                    self.problems.push(error);
                }
            }
            Value::Array(list) => {
                for (index, item) in list.iter_mut().enumerate() {
                    self.hide(item, &format!("{pointer}/{index}"), resolver);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.hide(item, &format!("{pointer}/{}", escape(key)), resolver);
                }
            }
            _ => {}
        }
    }
}

/// Where secrets may stand: where components read, for the proxy, and in credentials.
const CONFIGS: [&str; 10] = [
    "/source/reader/config",
    "/target/writer/config",
    "/target/warehouse",
    "/target/namespace",
    "/target/table",
    "/target/catalog",
    "/http/proxy",
    "/aws/access_key_id",
    "/aws/secret_access_key",
    "/aws/session_token",
];
