//! Stand-in until the decoder is merged: every column as text.
use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
pub struct Column {
    pub name: String,
    pub oid: u32,
    pub typmod: i32,
}
pub struct Catalog;
impl Catalog {
    pub const QUERY: &str = "SELECT oid::text FROM pg_type WHERE oid = ANY($1::oid[])";
    pub fn from_rows(_: &[Vec<Option<String>>]) -> Result<Self, String> {
        Ok(Self)
    }
}
#[derive(serde::Deserialize)]
pub struct Decoding {}
pub struct Layout {
    pub schema: SchemaRef,
    pub formats: Vec<i16>,
}
pub struct Invalid {
    pub message: String,
    pub hint: Option<String>,
}
pub struct Broken {
    pub message: String,
    pub hint: Option<String>,
}
impl Layout {
    pub fn new(columns: &[Column], _: &Catalog, _: &Decoding) -> Result<Self, Invalid> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|c| Field::new(&c.name, DataType::Utf8, true))
            .collect();
        Ok(Self {
            formats: vec![0; fields.len()],
            schema: Arc::new(Schema::new(fields)),
        })
    }
}
pub struct Fed {
    pub consumed: usize,
    pub next: Next,
}
pub enum Next {
    Input { wanted: usize },
    Full,
    Message(u8),
}
pub struct Decoder {
    layout: Arc<Layout>,
    columns: Vec<StringBuilder>,
    rows: usize,
    bytes: usize,
}
impl Decoder {
    pub fn new(layout: Arc<Layout>) -> Self {
        let columns = layout
            .formats
            .iter()
            .map(|_| StringBuilder::new())
            .collect();
        Self {
            layout,
            columns,
            rows: 0,
            bytes: 0,
        }
    }
    pub fn feed(&mut self, input: &[u8], max_rows: usize, max_bytes: usize) -> Result<Fed, Broken> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            if rest.len() < 5 {
                return Ok(Fed {
                    consumed: at,
                    next: Next::Input { wanted: 5 },
                });
            }
            if rest[0] != b'D' {
                return Ok(Fed {
                    consumed: at,
                    next: Next::Message(rest[0]),
                });
            }
            if self.rows >= max_rows || self.bytes >= max_bytes {
                return Ok(Fed {
                    consumed: at,
                    next: Next::Full,
                });
            }
            let len = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize + 1;
            if rest.len() < len {
                return Ok(Fed {
                    consumed: at,
                    next: Next::Input { wanted: len },
                });
            }
            let mut p = 7;
            for c in &mut self.columns {
                let n = i32::from_be_bytes(rest[p..p + 4].try_into().unwrap());
                p += 4;
                if n < 0 {
                    c.append_null();
                } else {
                    c.append_value(std::str::from_utf8(&rest[p..p + n as usize]).unwrap());
                    p += n as usize;
                }
            }
            self.rows += 1;
            self.bytes += len;
            at += len;
        }
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    pub fn finish(&mut self) -> Result<RecordBatch, Broken> {
        self.rows = 0;
        self.bytes = 0;
        let columns = self
            .columns
            .iter_mut()
            .map(|c| Arc::new(c.finish()) as ArrayRef)
            .collect();
        RecordBatch::try_new(self.layout.schema.clone(), columns).map_err(|e| Broken {
            message: e.to_string(),
            hint: None,
        })
    }
}
