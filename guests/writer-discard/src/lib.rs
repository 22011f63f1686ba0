//! The connector `discard`: counts rows and drops them, for dry runs and benchmarks.
//!
//! It has no target, so it knows no last commit: a job that writes to it always reads everything.

use dativo_connector::{CommitRecord, Error, Receipt, RecordBatch, Result, Run, Schema, Writer};
use serde_json::json;

/// It takes no config.
#[derive(serde::Deserialize)]
struct Config {}

struct Discard {
    rows: u64,
    bytes: u64,
}

impl Writer for Discard {
    const NAME: &'static str = "discard";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        json!({ "type": "object", "properties": {}, "additionalProperties": false }).to_string()
    }

    fn open(_: Config, _: &Schema, _: Run, _: u32) -> Result<Self> {
        Ok(Self { rows: 0, bytes: 0 })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.rows();
        self.bytes += batch.size();
        Ok(())
    }

    fn prepare(&mut self) -> Result<String> {
        Ok(json!([self.rows, self.bytes]).to_string())
    }

    fn commit(_: Config, _: Run, prepared: Vec<String>, _: Option<String>) -> Result<Receipt> {
        let (mut rows, mut bytes) = (0, 0);
        for split in prepared {
            let counted: (u64, u64) = serde_json::from_str(&split)
                .map_err(|error| Error::internal(format!("`{split}` is no count: {error}")))?;
            rows += counted.0;
            bytes += counted.1;
        }
        let details = json!({ "rows_discarded": rows, "arrow_bytes_discarded": bytes });
        Ok(Receipt {
            outputs: Vec::new(),
            details: Some(details.to_string()),
        })
    }

    fn abort(_: Config, _: Run, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    fn last_commit(_: Config, _: String, _: String) -> Result<Option<CommitRecord>> {
        Ok(None)
    }
}

dativo_connector::export_writer!(Discard);
