//! Summaries of runs, as lines of a file or as posts to a URL.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;
use url::Url;

use super::client::Client;
use crate::error::{Error, Kind, Result};

/// Summaries that wait for a webhook; more are dropped.
const MAX_WAITING: usize = 1000;
/// Pauses before each try.
const TRIES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
];
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

pub enum Summaries {
    /// One line each.
    File(Mutex<File>),
    Webhook {
        queue: Mutex<Option<mpsc::Sender<String>>>,
        posting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    },
}

impl Summaries {
    /// To a path, or an `http` URL.
    pub fn to(place: &str) -> Result<Self> {
        if place.contains("://") {
            return Self::webhook(place);
        }
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(place);
        let file = file.map_err(|error| {
            Error::new(Kind::JobInvalid, format!("cannot write to `{place}`"))
                .caused_by(error)
                .hint("name a file in a folder that is there: `--summaries runs.jsonl`")
        })?;
        Ok(Self::File(Mutex::new(file)))
    }

    fn webhook(place: &str) -> Result<Self> {
        let url = Url::parse(place).ok();
        let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let url = url.ok_or_else(|| {
            Error::new(Kind::JobInvalid, "`--summaries` is no URL of a webhook")
                .hint("write it as `https://host/path`, or name a file")
        })?;
        let client = Client::new()?;
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let posting = tokio::spawn(post_all(client, url, waiting));
        Ok(Self::Webhook {
            queue: Mutex::new(Some(queue)),
            posting: tokio::sync::Mutex::new(Some(posting)),
        })
    }

    /// Does not wait for a webhook.
    pub fn send(&self, summary: &str) {
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // One write, so that lines of several processes do not mix.
                if let Err(error) = file.write_all(format!("{summary}\n").as_bytes()) {
                    tracing::warn!(%error, "the summary of a run was not written");
                }
            }
            Self::Webhook { queue, .. } => {
                let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let sent = queue
                    .as_ref()
                    .map(|queue| queue.try_send(summary.to_owned()));
                if let Some(Err(TrySendError::Full(_))) = sent {
                    tracing::warn!("the summary of a run is dropped: the webhook does not keep up");
                }
            }
        }
    }

    /// Waits for what is on its way.
    pub async fn close(&self) {
        let Self::Webhook { queue, posting } = self else {
            return;
        };
        drop(queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(posting) = posting.lock().await.take()
            && tokio::time::timeout(CLOSE_TIMEOUT, posting).await.is_err()
        {
            tracing::warn!("summaries of the last runs were not sent");
        }
    }
}

async fn post_all(client: Client, url: Url, mut waiting: mpsc::Receiver<String>) {
    // The path of a webhook is often its key.
    let host = url.host_str().unwrap_or_default().to_owned();
    while let Some(summary) = waiting.recv().await {
        let mut problem = String::new();
        for pause in TRIES {
            tokio::time::sleep(pause).await;
            let answer = client.post(&url, summary.clone()).await;
            let is_last = matches!(answer, Ok(200..=299 | 400 | 401 | 403 | 404 | 410));
            problem = match answer {
                Ok(200..=299) => String::new(),
                Ok(status) => format!("status {status}"),
                Err(problem) => problem,
            };
            if is_last {
                break;
            }
        }
        if !problem.is_empty() {
            tracing::warn!(host, problem, "the summary of a run was not taken");
        }
    }
}
