//! A reader that reaches for what its config names, so that tests see what a grant lets through.
//!
//! Each way of reaching ends in an error whose message is the answer: `got: ...` where it came through.

use std::io::Read;

use arrow_schema::SchemaRef;
use dativo_connector::object_store as store;
use dativo_connector::{Batches, Blob, ByteReader, Error, Reader, Result};

#[derive(serde::Deserialize)]
struct Config {
    /// `read`, `write`, `list`, `publish`: through the object store; `file`, `create`: through WASI;
    /// `tell`: what the component sees of `target`.
    how: String,
    target: String,
}

struct Reach;

impl Reader for Reach {
    const NAME: &'static str = "reach";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "required": ["how", "target"], "additionalProperties": false,
            "properties": {"how": {"type": "string"}, "target": {"type": "string"}}}"#
            .to_owned()
    }

    fn open(config: Config, _: Option<String>) -> Result<Self> {
        let target = config.target.as_str();
        let got = match config.how.as_str() {
            "read" => {
                let mut text = String::new();
                let mut reader = ByteReader::open(target, 0, "none")?;
                reader
                    .read_to_string(&mut text)
                    .map_err(ByteReader::error)?;
                text
            }
            "write" => {
                store::put_new(target, &Blob::from_list(b"written")?)?;
                "written".to_owned()
            }
            "list" => format!("{} objects", store::list(target)?.len()),
            "publish" => {
                store::publish(&[target.to_owned()])?;
                "published".to_owned()
            }
            "file" => std::fs::read_to_string(target).map_err(refused)?,
            "create" => {
                std::fs::write(target, "written").map_err(refused)?;
                "written".to_owned()
            }
            _ => config.target.clone(),
        };
        Err(Error::rejected(format!("got: {}", got.trim())))
    }

    fn schema(&self) -> Result<SchemaRef> {
        Err(Error::internal("it never opens"))
    }

    fn read(&self, _: &str) -> Result<Box<dyn Batches>> {
        Err(Error::internal("it never opens"))
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::new(dativo_connector::ErrorKind::Denied, error.to_string())
}

dativo_connector::export_reader!(Reach);
