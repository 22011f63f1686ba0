//! A reader that breaks one rule at a time: `config: { attack: endless-loop }`.
//!
//! It speaks to the bare bindings, since the SDK would not let it do most of this. Growing a table
//! takes an instruction that stable Rust does not have: `guests/.cargo/config.toml` allows this crate,
//! and no other, the unstable feature. On any other target the crate is empty.

#![cfg(target_arch = "wasm32")]
#![feature(asm_experimental_arch)]

mod attacks;

use std::cell::Cell;

wit_bindgen::generate!({ world: "reader-component", path: "../../../wit" });

use dativo::connector::data::{RecordBatch, Schema};
use dativo::connector::types::{Description, Error, ErrorKind};
use exports::dativo::connector::reader::{
    Batches, Dataset, Guest, GuestBatches, GuestReader, Reader,
};

struct Hostile;

struct Source {
    attack: String,
}

struct Piece {
    attack: String,
    calls: Cell<u32>,
}

impl Guest for Hostile {
    type Reader = Source;
    type Batches = Piece;

    fn describe() -> Description {
        Description {
            name: "hostile".to_owned(),
            version: "0.0.0".to_owned(),
            config_schema: r#"{"type": "object", "properties": {"attack": {"type": "string"},
                "file": {"type": "string"}}, "required": ["attack"], "additionalProperties": false}"#
                .to_owned(),
        }
    }

    fn discover(_: String) -> Result<Vec<Dataset>, Error> {
        Ok(Vec::new())
    }
}

impl GuestReader for Source {
    fn open(config: String, _: Option<String>) -> Result<Reader, Error> {
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let attack = config["attack"].as_str().unwrap().to_owned();
        attacks::on_open(&attack)?;
        Ok(Reader::new(Source { attack }))
    }

    fn schema(&self) -> Result<Schema, Error> {
        attacks::schema(&self.attack)
    }

    fn check(&self) -> Result<Schema, Error> {
        self.schema()
    }

    fn splits(&self, max: u32) -> Result<Vec<String>, Error> {
        Ok(match self.attack.as_str() {
            "too-many-splits" => (0..=max).map(|split| split.to_string()).collect(),
            _ => vec!["all".to_owned()],
        })
    }

    fn read(&self, _: String) -> Result<Batches, Error> {
        Ok(Batches::new(Piece {
            attack: self.attack.clone(),
            calls: Cell::new(0),
        }))
    }

    fn state(&self, _: Vec<String>) -> Result<Option<String>, Error> {
        Ok(None)
    }
}

impl GuestBatches for Piece {
    fn next(&self, max_rows: u32) -> Result<Option<RecordBatch>, Error> {
        self.calls.set(self.calls.get() + 1);
        attacks::on_next(&self.attack, self.calls.get(), max_rows)
    }

    fn progress(&self) -> Option<f32> {
        match self.attack.as_str() {
            "wild-progress" => Some(f32::NAN),
            _ => None,
        }
    }

    fn end(&self) -> Result<String, Error> {
        Ok(String::new())
    }
}

fn error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error {
        kind,
        message: message.into(),
        hint: None,
        retry_after_ms: None,
    }
}

export!(Hostile);
