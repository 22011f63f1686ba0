//! `decrypt`: a sealed file becomes a plain one. A signal ends it, and nothing is left.

use std::path::Path;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{Options, one};
use crate::capabilities::aws::Aws;
use crate::capabilities::kms::KeyService;
use crate::decrypt::{Opened, Request, Source, decrypt as open};
use crate::error::{Error, Kind, Result};
use crate::job::{AwsSettings, Secrets};
use crate::report::{self, errors::one_line};
use crate::seal::Format;

/// What the key service is reached with comes from the environment.
pub async fn decrypt(
    source: &str,
    destination: &Path,
    request: &Request,
    options: &Options,
) -> super::Outcome {
    let keys = KeyService::new(Aws::new(&AwsSettings::default(), &Secrets::default()));
    let work = async {
        let source = Source::open(source).await?;
        open(&source, destination, &keys, request).await
    };
    let opened = tokio::select! {
        opened = work => opened,
        stopped = stopped() => Err(stopped),
    };
    show(source, destination, &opened.map_err(one)?, options);
    Ok(())
}

/// Resolves where a signal asks to end.
async fn stopped() -> Error {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Error::internal("signals cannot be listened to").caused_by(error))
    };
    let signals: Result<_> = listen(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, listen(SignalKind::terminate())?)));
    match signals {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Error::new(Kind::Cancelled, "a signal stopped it")
        }
        Err(error) => error,
    }
}

fn show(source: &str, destination: &Path, opened: &Opened, options: &Options) {
    let format = match opened.format {
        Format::V0 => "v0",
        Format::V1 => "v1",
    };
    let destination = destination.display().to_string();
    if options.json {
        let context = opened.context.as_ref();
        let context = context.map(|context| context.pairs().collect::<Value>());
        report::json(&json!({
            "status": "success", "source": source, "destination": destination, "format": format,
            "bytes": opened.plaintext_bytes, "context": context,
            "peak_memory_bytes": crate::memory::peak_bytes(),
        }));
        return;
    }
    let sealed_for = match &opened.context {
        None => "which does not say whom it was sealed for".to_owned(),
        Some(context) => {
            let pairs = context.pairs();
            let pairs: Vec<String> = pairs
                .map(|(name, value)| format!("{name} `{value}`"))
                .collect();
            format!("sealed for {}", pairs.join(", "))
        }
    };
    let bytes = opened.plaintext_bytes;
    report::result(&one_line(&format!(
        "{destination}: {bytes} bytes of {source}, a file of format {format}, {sealed_for}"
    )));
}
