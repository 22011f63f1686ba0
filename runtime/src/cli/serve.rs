//! `serve`: the jobs of a directory, when they are due, until a signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::run::Signals;
use super::{Options, one};
use crate::capabilities::connections;
use crate::component::Stop;
use crate::error::{Error, Kind};
use crate::job::LoadOptions;
use crate::report;
use crate::serve::api::{self, Tokens};
use crate::serve::{Capacity, Clock, Server, Settings};
use crate::staging;
use crate::telemetry::Telemetry;

/// The part of the machine's memory that runs may take where `--memory` does not say.
const MEMORY_PART: f64 = 0.8;

#[derive(Debug, Args)]
pub struct ServeOptions {
    /// The folder of job files; those in `DIR/TENANT/` are that tenant's
    #[arg(long, value_name = "DIR")]
    jobs: PathBuf,
    /// Where the HTTP interface and the page are; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8765", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Who may ask: lines `SHA256 operator` and `SHA256 tenant NAME` [default: a token is made and shown at the start]
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Runs at the same time
    #[arg(long, default_value = "16", value_name = "N")]
    runs: u32,
    /// Memory that all runs may take together [default: four fifths of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Bytes that all runs may have staged together and not yet committed, in folders and in buckets [default: any]
    #[arg(long, value_name = "SIZE")]
    staged: Option<ByteSize>,
    /// Sessions with databases that all runs may have at the same time, and requests over HTTP and to S3 and KMS
    #[arg(long, default_value = "256", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How long active runs may go on after SIGTERM; a second signal stops them at once
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// How long ended runs stay in the run store, such as `90d`; the last commit of each job does in any case [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    history: Option<Duration>,
    /// Where the summary of each run goes as JSON: a file, line by line, or the URL of a webhook
    #[arg(long, value_name = "FILE|URL")]
    summaries: Option<String>,
}

pub async fn serve(serve: &ServeOptions, options: &Options) -> Result<u8, Vec<Error>> {
    let mut signals = Signals::new().map_err(one)?;
    let memory_bytes = match serve.memory {
        Some(ByteSize(bytes)) => bytes,
        None => machine_memory()
            .map(|bytes| (bytes as f64 * MEMORY_PART) as u64)
            .ok_or_else(|| {
                let message = "the memory of the machine cannot be told";
                one(Error::new(Kind::JobInvalid, message)
                    .hint("say how much runs may take: `--memory 8GiB`"))
            })?,
    };
    raise_descriptors();
    connections::limit(usize::from(serve.connections));
    staging::limit_all(serve.staged.map(|size| size.as_u64()));
    let settings = Settings {
        jobs: serve.jobs.clone(),
        options: LoadOptions {
            without_environment: true,
            ..options.load_options()
        },
        plugins: options.plugins(),
        capacity: Capacity {
            runs: serve.runs,
            memory_bytes,
        },
        clock: Clock::real(),
        history: serve.history,
        drain: serve.drain,
    };
    let (tokens, shown) = match &serve.tokens {
        Some(file) => (Tokens::read(file).map_err(one)?, None),
        None => {
            let (tokens, token) = Tokens::generate();
            (tokens, Some(token))
        }
    };
    let server = Arc::new(Server::new(
        settings,
        options.store()?,
        options.components()?,
        Telemetry::start(serve.summaries.as_deref()).map_err(one)?,
    ));
    let (listener, address) = api::listen(serve.listen).await.map_err(one)?;
    server.start().await.map_err(one)?;
    report::note(&match shown {
        Some(token) => format!("serving at http://{address}/#token={token}"),
        None => format!("serving at http://{address}/"),
    });
    let (switch, stop) = Stop::switch();
    let (at_once, now) = Stop::switch();
    let (closing, closed) = Stop::switch();
    let answering = tokio::spawn(api::answer(listener, server.clone(), tokens, closed));
    tokio::spawn(async move {
        signals.next().await;
        report::note("stopping: active runs may end; a second signal stops them");
        switch.send_replace(true);
        signals.next().await;
        at_once.send_replace(true);
    });
    server.run(stop, now).await;
    closing.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), answering).await;
    Ok(0)
}

/// As many files and connections as the system lets this process have: it begins with some 1,000, for programs that are older.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

/// Of the machine, or of the control group that this process is in.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let of_group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let of_group = of_group.and_then(|text| text.trim().parse::<u64>().ok());
    Some((kib << 10).min(of_group.unwrap_or(u64::MAX)))
}
