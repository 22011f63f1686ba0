//! A reader that seals bytes under the key that its config names, so that tests see what comes of it.
//!
//! It ends in an error whose message is the answer: `got: ...` with the key's name where the file was written.

use arrow_schema::SchemaRef;
use dativo_connector::kms::{Format, Sealer};
use dativo_connector::object_store as store;
use dativo_connector::{Batches, Blob, Error, Reader, Result};

#[derive(serde::Deserialize)]
struct Config {
    key: String,
    /// `v0` or `v1`.
    format: String,
    /// How many bytes are sealed: number `i` is `i mod 251`.
    bytes: usize,
    /// Where the sealed file goes.
    output: String,
    /// A list of calls: `update`, `finish`, `head`; `flood` seals one blob ten thousand times.
    calls: Vec<String>,
}

struct Sealing;

/// How much is sealed with one call.
const PIECE_BYTES: usize = 700_001;

impl Reader for Sealing {
    const NAME: &'static str = "sealing";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "required": ["key", "format", "bytes", "output", "calls"],
            "additionalProperties": false, "properties": {
              "key": {"type": "string"}, "format": {"enum": ["v0", "v1"]},
              "bytes": {"type": "integer"}, "output": {"type": "string"},
              "calls": {"type": "array", "items": {"type": "string"}}},
            "x-dativo-grants": [
              {"capability": "object-store", "access": "write", "target": "{output}"}]}"#
            .to_owned()
    }

    fn open(config: Config, _: Option<String>) -> Result<Self> {
        let format = match config.format.as_str() {
            "v0" => Format::V0,
            _ => Format::V1,
        };
        let plain: Vec<u8> = (0..config.bytes).map(|i| (i % 251) as u8).collect();
        let sealer = Sealer::create(&config.key, format)?;
        let (mut head, mut body) = (Vec::new(), Vec::new());
        for call in &config.calls {
            match call.as_str() {
                "update" => {
                    for piece in plain.chunks(PIECE_BYTES) {
                        let (start, end) = piece.split_at(piece.len() / 3);
                        let (start, end) = (Blob::from_list(start)?, Blob::from_list(end)?);
                        body.extend(bytes(&sealer.update(&[&start, &end])?));
                    }
                }
                "flood" => {
                    let blob = Blob::from_list(&plain)?;
                    sealer.update(&vec![&blob; 10_000])?;
                }
                "finish" => body.extend(bytes(&sealer.finish()?)),
                _ => head = bytes(&sealer.head()?),
            }
        }
        head.extend(body);
        store::put_new(&config.output, &Blob::from_list(&head)?)?;
        Err(Error::rejected(format!("got: {}", sealer.key_id())))
    }

    fn schema(&self) -> Result<SchemaRef> {
        Err(Error::internal("it never opens"))
    }

    fn read(&self, _: &str) -> Result<Box<dyn Batches>> {
        Err(Error::internal("it never opens"))
    }
}

fn bytes(blob: &Blob) -> Vec<u8> {
    blob.read(0, u32::MAX)
}

dativo_connector::export_reader!(Sealing);
