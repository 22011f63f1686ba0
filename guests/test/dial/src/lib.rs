//! A reader that connects to the database that its config names, so that tests see what a grant lets through.
//!
//! It ends in an error whose message is the answer: `got: ...` where it came through.

use arrow_schema::SchemaRef;
use dativo_connector::postgres::Connection;
use dativo_connector::{Batches, Error, Reader, Result};

#[derive(serde::Deserialize)]
struct Config {
    target: String,
    /// What is asked there.
    statement: String,
}

struct Dial;

impl Reader for Dial {
    const NAME: &'static str = "dial";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "required": ["target", "statement"], "additionalProperties": false,
            "properties": {"target": {"type": "string"}, "statement": {"type": "string"}}}"#
            .to_owned()
    }

    fn open(config: Config, _: Option<String>) -> Result<Self> {
        let connection = Connection::open(&config.target, None)?;
        let rows = connection.query(&config.statement, &[])?;
        let cells: Vec<String> = rows.into_iter().flatten().flatten().collect();
        Err(Error::rejected(format!("got: {}", cells.join(" "))))
    }

    fn schema(&self) -> Result<SchemaRef> {
        Err(Error::internal("it never opens"))
    }

    fn read(&self, _: &str) -> Result<Box<dyn Batches>> {
        Err(Error::internal("it never opens"))
    }
}

dativo_connector::export_reader!(Dial);
