//! A reader of the pages of `bench/rest` that takes each body as text and makes the columns itself, inside the sandbox, as a
//! component would without the interface `json`. It knows the columns beforehand, which is the best case for this way.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use dativo_connector::{Batches, Error, Reader, Result, http};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
struct Config {
    api_url: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Record>,
    total_pages: u64,
}

#[derive(Deserialize)]
struct Record {
    id: Option<i64>,
    customer_id: Option<i64>,
    status: Option<String>,
    amount: Option<f64>,
    ratio: Option<f64>,
    is_new: Option<bool>,
    title: Option<String>,
    note: Option<String>,
    updated_at: Option<String>,
    address: Address,
}

#[derive(Deserialize)]
struct Address {
    city: Option<String>,
    zip: Option<String>,
}

struct Textual(Config);

impl Reader for Textual {
    const NAME: &'static str = "textual";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn config_schema() -> String {
        r#"{"type": "object", "required": ["api_url"], "additionalProperties": false,
            "properties": {"api_url": {"type": "string"}}}"#
            .to_owned()
    }

    fn open(config: Config, _: Option<String>) -> Result<Self> {
        Ok(Self(config))
    }

    fn schema(&self) -> Result<SchemaRef> {
        Ok(schema())
    }

    fn read(&self, _: &str) -> Result<Box<dyn Batches>> {
        let settings = http::Settings {
            auth: None,
            rate: None,
        };
        Ok(Box::new(Pages {
            client: http::Client::open(&settings)?,
            url: self.0.api_url.clone(),
            next: Some(1),
        }))
    }
}

struct Pages {
    client: http::Client,
    url: String,
    next: Option<u64>,
}

impl Batches for Pages {
    fn next(&mut self, _: usize) -> Result<Option<RecordBatch>> {
        let Some(number) = self.next else {
            return Ok(None);
        };
        let response = self.client.send(&http::Request {
            method: "GET".to_owned(),
            url: format!("{}?page={number}&page_size=100", self.url),
            headers: Vec::new(),
            body: None,
            timeout_ms: None,
            repeatable: false,
        })?;
        let text = response.body.text()?;
        let page: Page = serde_json::from_str(&text)
            .map_err(|error| Error::invalid_data(format!("page {number}: {error}")))?;
        self.next = (number < page.total_pages).then_some(number + 1);
        columns(&page.items).map(Some)
    }
}

fn texts<'a>(records: &'a [Record], of: impl Fn(&'a Record) -> &'a Option<String>) -> ArrayRef {
    let cells = records.iter().map(|record| of(record).as_deref());
    Arc::new(cells.collect::<StringArray>())
}

fn columns(records: &[Record]) -> Result<RecordBatch> {
    let address = StructArray::new(
        address_fields(),
        vec![
            texts(records, |record| &record.address.city),
            texts(records, |record| &record.address.zip),
        ],
        None,
    );
    let all = records.iter();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(all.clone().map(|record| record.id).collect::<Int64Array>()),
        Arc::new(
            all.clone()
                .map(|record| record.customer_id)
                .collect::<Int64Array>(),
        ),
        texts(records, |record| &record.status),
        Arc::new(
            all.clone()
                .map(|record| record.amount)
                .collect::<Float64Array>(),
        ),
        Arc::new(
            all.clone()
                .map(|record| record.ratio)
                .collect::<Float64Array>(),
        ),
        Arc::new(all.map(|record| record.is_new).collect::<BooleanArray>()),
        texts(records, |record| &record.title),
        texts(records, |record| &record.note),
        texts(records, |record| &record.updated_at),
        Arc::new(address),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| Error::internal(error.to_string()))
}

fn address_fields() -> Fields {
    ["city", "zip"]
        .map(|name| Field::new(name, DataType::Utf8, true))
        .to_vec()
        .into()
}

fn schema() -> SchemaRef {
    use DataType::{Boolean, Float64, Int64, Struct, Utf8};
    let fields = [
        ("id", Int64),
        ("customer_id", Int64),
        ("status", Utf8),
        ("amount", Float64),
        ("ratio", Float64),
        ("is_new", Boolean),
        ("title", Utf8),
        ("note", Utf8),
        ("updated_at", Utf8),
        ("address", Struct(address_fields())),
    ];
    let fields = fields.map(|(name, kind)| Field::new(name, kind, true));
    Arc::new(Schema::new(fields.to_vec()))
}

dativo_connector::export_reader!(Textual);
