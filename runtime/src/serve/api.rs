//! The HTTP interface: who may ask what, with bounded requests and answers that name no path and no secret.
//!
//! Decides nothing about runs: `Server` does. The document of the interface (OpenAPI) is made from this code.

mod answers;
mod auth;
mod listener;
mod metrics;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use utoipa::{IntoParams, OpenApi};

use answers::{Job, Jobs, Problem, Run, Runs, Triggered, Validated};
pub use auth::Tokens;
use auth::{Caller, Limiter};
use listener::Bounded;

use super::Server;
use crate::component::Stop;
use crate::error::{Error, Kind, Result};
use crate::job;
use crate::runs::{Filter, JobKey};

/// The largest body: a job file.
const MAX_BODY_BYTES: usize = 1 << 20;

/// A request that is not answered by then is dropped.
const TIMEOUT: Duration = Duration::from_secs(30);

const MAX_LISTED: u32 = 500;

/// What every handler gets.
#[derive(Clone)]
pub struct Api {
    server: Arc<Server>,
    tokens: Arc<Tokens>,
    limiter: Arc<Limiter>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dativo-wasm",
        description = "Jobs and runs of a process that serves."
    ),
    paths(list_jobs, get_job, trigger, list_runs, get_run, cancel, validate)
)]
struct Document;

/// The document of the interface, as JSON.
pub fn document() -> String {
    Document::openapi().to_json().unwrap_or_default()
}

/// Listens at `address`; gives the address that was taken.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        Error::new(
            Kind::Unavailable,
            format!("nothing can listen at {address}"),
        )
        .caused_by(error)
        .hint("choose another address with `--listen`, such as `127.0.0.1:0` for a free port")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let taken = listener.local_addr().map_err(failed)?;
    Ok((listener, taken))
}

/// Answers until `stop`.
pub async fn answer(listener: TcpListener, server: Arc<Server>, tokens: Tokens, mut stop: Stop) {
    let api = Api {
        server,
        tokens: Arc::new(tokens),
        limiter: Arc::default(),
    };
    let served = axum::serve(Bounded::new(listener), router(api))
        .with_graceful_shutdown(async move { stop.requested().await });
    if let Err(error) = served.await {
        tracing::error!(problem = %error, "the HTTP interface ended");
    }
}

fn router(api: Api) -> Router {
    let guarded = Router::new()
        .route("/api/v1/jobs", get(list_jobs))
        .route("/api/v1/jobs/{tenant}/{job}", get(get_job))
        .route("/api/v1/jobs/{tenant}/{job}/runs", post(trigger))
        .route("/api/v1/runs", get(list_runs))
        .route("/api/v1/runs/{run_id}", get(get_run))
        .route("/api/v1/runs/{run_id}/cancel", post(cancel))
        .route("/api/v1/validate", post(validate))
        .route("/metrics", get(metrics::metrics))
        .layer(axum::middleware::from_fn_with_state(api.clone(), guard));
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/api/v1/openapi.json",
            get(|| async { ([("content-type", "application/json")], document()) }),
        )
        .merge(guarded)
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not take this method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn(bounded))
        .with_state(api)
}

/// Who asks, how often, and with which right.
async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let caller = api.tokens.caller(request.headers());
    let Some(caller) = caller else {
        return Problem::unauthorized().into_response();
    };
    if !api.limiter.takes(&caller) {
        return Problem::too_many().into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Headers that every answer has, and an end.
async fn bounded(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the answer took too long",
        )
        .into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'",
        ),
    ] {
        headers.insert(name, axum::http::HeaderValue::from_static(value));
    }
    response
}

/// The jobs that there are, and files that are none.
#[utoipa::path(get, path = "/api/v1/jobs", responses((status = 200, body = Jobs), (status = 401, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_jobs(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<Jobs> {
    Json(Jobs::new(
        api.server.jobs(caller.tenant()),
        api.server.broken(caller.tenant()),
    ))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{tenant}/{job}", params(("tenant" = String, Path), ("job" = String, Path)),
    responses((status = 200, body = Job), (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_job(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((tenant, job)): Path<(String, String)>,
) -> Result<Json<Job>, Problem> {
    let key = own(&caller, tenant, job)?;
    let found = api.server.job(&key).ok_or_else(no_job)?;
    Ok(Json(Job::from(found)))
}

/// Begins a run now, or as soon as there is room.
#[utoipa::path(post, path = "/api/v1/jobs/{tenant}/{job}/runs", params(("tenant" = String, Path), ("job" = String, Path)),
    responses((status = 202, body = Triggered), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn trigger(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((tenant, job)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Triggered>), Problem> {
    let key = own(&caller, tenant, job)?;
    api.server.job(&key).ok_or_else(no_job)?;
    let asked = key.clone();
    let is_free = on_store(&api, move |server| {
        match server.store().check_free(&asked) {
            Err(error) if error.kind() == Kind::StateConflict => Ok(false),
            answer => answer.map(|()| true),
        }
    });
    match is_free.await?.then(|| api.server.trigger(&key)).flatten() {
        Some(run_id) => Ok((StatusCode::ACCEPTED, Json(Triggered { run_id }))),
        None => Err(Problem::new(
            StatusCode::CONFLICT,
            "state_conflict",
            "a run of the job is active, or cannot begin",
        )),
    }
}

/// Which runs are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunsQuery {
    /// The operator may ask for one tenant.
    tenant: Option<String>,
    job: Option<String>,
    /// `running`, `pending`, `committed`, `empty`, `failed`, `cancelled` or `removed`.
    status: Option<String>,
    /// `next` of the page before.
    before: Option<i64>,
    /// From 1 to 500. Default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", params(RunsQuery),
    responses((status = 200, body = Runs), (status = 400, body = Problem), (status = 401, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_runs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<RunsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Runs>, Problem> {
    let Query(query) = query.map_err(|error| Problem::invalid(&error.body_text()))?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=MAX_LISTED).contains(&limit) {
        return Err(Problem::invalid("`limit` must be from 1 to 500"));
    }
    let tenant = caller.tenant().map(str::to_owned).or(query.tenant);
    let listed = on_store(&api, move |server| {
        let filter = Filter {
            tenant: tenant.as_deref(),
            job: query.job.as_deref(),
            status: query.status.as_deref(),
            before: query.before,
        };
        server.store().list(&filter, limit)
    });
    Ok(Json(Runs::new(listed.await?, limit)))
}

/// One run, with its report where it ended.
#[utoipa::path(get, path = "/api/v1/runs/{run_id}", params(("run_id" = String, Path)),
    responses((status = 200, body = Run), (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(run_id): Path<String>,
) -> Result<Json<Run>, Problem> {
    let active = api
        .server
        .active(&run_id)
        .filter(|(key, _)| caller.owns(&key.tenant));
    let found = on_store(&api, move |server| server.store().find(&run_id)).await?;
    let found = found.filter(|listed| caller.owns(&listed.row.tenant));
    match (found, active) {
        (Some(listed), active) => Ok(Json(Run::new(listed, active.map(|(_, view)| view)))),
        (None, Some((key, view))) => Ok(Json(Run::waiting(key, view))),
        (None, None) => Err(Problem::not_found("there is no such run")),
    }
}

/// Stops a run that is active, within seconds where another process has it.
#[utoipa::path(post, path = "/api/v1/runs/{run_id}/cancel", params(("run_id" = String, Path)),
    responses((status = 202), (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(run_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let is_asked = api.server.cancel(&run_id, caller.tenant())
        || on_store(&api, move |server| {
            let found = server.store().find(&run_id)?;
            match found.is_some_and(|listed| caller.owns(&listed.row.tenant)) {
                true => server.store().request_cancel(&run_id),
                false => Ok(false),
            }
        })
        .await?;
    match is_asked {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(Problem::not_found("there is no such run that is active")),
    }
}

/// Whether a text is a valid job file. Nothing of it is kept.
#[utoipa::path(post, path = "/api/v1/validate", request_body(content = Option<String>, content_type = "text/plain"),
    responses((status = 200, body = Validated), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn validate(
    Extension(caller): Extension<Caller>,
    body: Result<String, axum::extract::rejection::StringRejection>,
) -> Result<Json<Validated>, Problem> {
    let text = match body {
        Ok(text) => text,
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "limit_exceeded",
                "a job file has at most 1 MiB",
            ));
        }
        Err(_) => return Err(Problem::invalid("the body must be UTF-8 text")),
    };
    let tenant = caller.tenant().map(str::to_owned);
    let checked = tokio::task::spawn_blocking(move || job::validate(&text, tenant.as_deref()));
    let errors = checked.await.map_err(|_| Problem::internal())?;
    Ok(Json(Validated::new(&errors)))
}

/// Asks the run store, on a thread that may be busy.
async fn on_store<T: Send + 'static>(
    api: &Api,
    ask: impl FnOnce(&Server) -> Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let server = api.server.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&server)).await;
    asked.map_err(|_| Problem::internal())?.map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the run store does not answer",
        )
    })
}

/// The key of a job that the caller may know of. Of another tenant's it says what it says of none.
fn own(caller: &Caller, tenant: String, job: String) -> Result<JobKey, Problem> {
    match caller.owns(&tenant) {
        true => Ok(JobKey { tenant, job }),
        false => Err(no_job()),
    }
}

fn no_job() -> Problem {
    Problem::not_found("there is no such job")
}
