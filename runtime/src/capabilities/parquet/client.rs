//! Parquet encoding of batches into memory that is drained while it is written.
//!
//! Knows no wasm and no files. A batch goes in, encoded bytes come out whenever a row group is complete; nothing of a
//! row group is ready before its end, since its columns follow one another in the file.

mod choice;
mod encryption;
mod interval;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use choice::{Choice, choices};
pub use encryption::{Encryption, FileKey};
use interval::stored_schema;
pub use interval::stored_values;

/// A row group ends here, in encoded bytes: readers take a row group as their unit of work, and the encoder holds
/// the open one in memory. A table of 50 columns gets some 40,000 rows a group, one of 16 some 350,000.
const ROW_GROUP_BYTES: usize = 12 << 20;

/// Rows between two looks at the size of the open row group, so that one large batch cannot pass the limit by far.
const ROWS_PER_LOOK: usize = 16_384;

/// Largest `row_group_rows`: ten times what readers are tuned for.
const MAX_ROW_GROUP_ROWS: u64 = 10 << 20;

/// What is taken at a time, in bytes: a part of an upload.
const MAX_TAKE_BYTES: usize = 5 << 20;

/// What the footer keeps of each column of a finished row group: statistics, offsets and page indexes.
const FOOTER_BYTES_PER_COLUMN_CHUNK: usize = 1024;

/// Rows of a page, at most. The open page of each column is held in memory as it is before compression.
const PAGE_ROWS: usize = 10_000;

const DEFAULT_ROW_GROUP_ROWS: usize = 1 << 20;

const OPTIONS: [&str; 3] = ["compression", "row_group_rows", "metadata"];

/// One file being encoded.
pub struct Encoder {
    /// Of the batches.
    schema: SchemaRef,
    /// Of the file.
    stored: SchemaRef,
    sink: Sink,
    writer: Writer,
    rows: u64,
    rows_per_look: usize,
    /// Of a finished file.
    metadata: Option<ParquetMetaData>,
}

enum Writer {
    /// The first batch decides which columns get a dictionary.
    Fresh(Options),
    Open(Box<ArrowWriter<Sink>>),
    /// Finished, or failed: with the bytes that it encoded.
    Gone(u64),
}

impl Encoder {
    /// `options_json` as `wit/parquet.wit` describes.
    pub fn create(schema: SchemaRef, options_json: &str) -> Result<Self> {
        Self::new(schema, Options::parse(options_json)?)
    }

    /// [`Self::create`] for a file whose pages and footer are encrypted.
    pub fn create_encrypted(
        schema: SchemaRef,
        options_json: &str,
        encryption: Encryption,
    ) -> Result<Self> {
        let mut options = Options::parse(options_json)?;
        options.encryption = Some(encryption.properties(&stored_schema(&schema))?);
        Self::new(schema, options)
    }

    fn new(schema: SchemaRef, options: Options) -> Result<Self> {
        // The writer below splits a batch at the end of a row group by calling itself, one level for each group.
        let rows_per_look = ROWS_PER_LOOK.min(options.row_group_rows);
        let stored = stored_schema(&schema);
        ArrowWriter::try_new(io::sink(), stored.clone(), None).map_err(|error| {
            Failure::new(
                ErrorKind::Rejected,
                format!("the schema has no Parquet form: {error}"),
            )
            .hint("cast the column that it names to another type")
        })?;
        Ok(Self {
            schema,
            stored,
            sink: Sink::default(),
            writer: Writer::Fresh(options),
            rows: 0,
            rows_per_look,
            metadata: None,
        })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check_schema(batch)?;
        // The declared schema, so that metadata of a single batch changes nothing.
        let columns = batch.columns().iter().zip(self.stored.fields());
        let columns = columns.map(|(column, field)| stored_values(column, field.data_type()));
        let batch = RecordBatch::try_new(self.stored.clone(), columns.collect())
            .map_err(|error| Failure::new(ErrorKind::InvalidData, error.to_string()))?;
        let rows_per_look = self.rows_per_look;
        let writer = self.open(Some(&batch))?;
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = rows_per_look.min(batch.num_rows() - start);
            let written = writer.write(&batch.slice(start, rows)).and_then(|()| {
                if writer.in_progress_size() < ROW_GROUP_BYTES {
                    return Ok(());
                }
                writer.flush()
            });
            if let Err(error) = written {
                self.writer = Writer::Gone(0);
                return Err(broken(&error));
            }
            start += rows;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Encoded bytes that are ready and were not taken, at most 5 MiB; none where there are none.
    pub fn take(&mut self) -> Vec<u8> {
        self.sink.drain()
    }

    /// Encoded bytes so far, taken or not, with an estimate of the open row group.
    pub fn size(&self) -> u64 {
        match &self.writer {
            Writer::Fresh(_) => 0,
            Writer::Open(writer) => (writer.bytes_written() + writer.in_progress_size()) as u64,
            Writer::Gone(bytes) => *bytes,
        }
    }

    /// Ends the file: all of it can be taken.
    pub fn finish(&mut self) -> Result<()> {
        let writer = self.open(None)?;
        let finished = writer.finish();
        let bytes = writer.bytes_written() as u64;
        self.writer = Writer::Gone(bytes);
        self.metadata = Some(finished.map_err(|error| broken(&error))?);
        Ok(())
    }

    /// What the footer of a finished file says, once.
    pub fn take_metadata(&mut self) -> Option<ParquetMetaData> {
        self.metadata.take()
    }

    /// The writer, made for a file that begins with `first` where there is none yet.
    fn open(&mut self, first: Option<&RecordBatch>) -> Result<&mut ArrowWriter<Sink>> {
        if let Writer::Fresh(options) = &self.writer {
            let choices = first.map_or_else(Vec::new, choices);
            let properties = options.properties(&self.stored, &choices);
            let writer =
                ArrowWriter::try_new(self.sink.clone(), self.stored.clone(), Some(properties))
                    .map_err(|error| broken(&error))?;
            self.writer = Writer::Open(Box::new(writer));
        }
        match &mut self.writer {
            Writer::Open(writer) => Ok(writer),
            Writer::Fresh(_) | Writer::Gone(_) => Err(finished()),
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Host memory that the encoder holds now, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let open = match &self.writer {
            Writer::Open(writer) => {
                let chunks = writer.flushed_row_groups().len() * self.schema.fields().len();
                writer.memory_size() + chunks * FOOTER_BYTES_PER_COLUMN_CHUNK
            }
            Writer::Fresh(_) | Writer::Gone(_) => 0,
        };
        open + self.sink.held_bytes()
    }

    fn check_schema(&self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let same = schema.fields().len() == self.schema.fields().len()
            && schema
                .fields()
                .iter()
                .zip(self.schema.fields())
                .all(|(a, b)| {
                    a.name() == b.name()
                        && a.data_type().equals_datatype(b.data_type())
                        && a.is_nullable() <= b.is_nullable()
                });
        if same {
            return Ok(());
        }
        Err(Failure::new(
            ErrorKind::InvalidData,
            format!(
                "the batch is not of the declared schema: {}",
                difference(&self.schema, &schema)
            ),
        ))
    }
}

fn difference(declared: &Schema, found: &Schema) -> String {
    let text = |schema: &Schema, i: usize| match schema.fields().get(i) {
        None => "nothing".to_owned(),
        Some(field) => format!(
            "`{}` {}{}",
            field.name(),
            field.data_type(),
            if field.is_nullable() { "" } else { " not null" }
        ),
    };
    let columns = declared.fields().len().max(found.fields().len());
    (0..columns)
        .map(|i| (i, text(declared, i), text(found, i)))
        .find(|(_, declared, found)| declared != found)
        .map_or_else(
            || "a field inside a column differs".to_owned(),
            |(i, declared, found)| {
                format!("column {} is declared {declared} and holds {found}", i + 1)
            },
        )
}

fn finished() -> Failure {
    Failure::new(
        ErrorKind::Rejected,
        "the encoder is finished; create another one",
    )
}

fn broken(error: &ParquetError) -> Failure {
    Failure::new(
        ErrorKind::InvalidData,
        format!("the batch could not be encoded as Parquet: {error}"),
    )
}

struct Options {
    compression: Compression,
    row_group_rows: usize,
    metadata: BTreeMap<String, String>,
    encryption: Option<Arc<FileEncryptionProperties>>,
}

impl Options {
    fn parse(json: &str) -> Result<Self> {
        let mut options = Self {
            compression: Compression::SNAPPY,
            row_group_rows: DEFAULT_ROW_GROUP_ROWS,
            metadata: BTreeMap::new(),
            encryption: None,
        };
        if json.trim().is_empty() {
            return Ok(options);
        }
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
            .map_err(|error| {
                invalid(format!(
                    "the Parquet options are not a JSON object: {error}"
                ))
            })?;
        for (key, value) in object {
            match key.as_str() {
                "compression" => options.compression = compression(&value)?,
                "row_group_rows" => {
                    options.row_group_rows = value
                        .as_u64()
                        .filter(|rows| (1..=MAX_ROW_GROUP_ROWS).contains(rows))
                        .and_then(|rows| usize::try_from(rows).ok())
                        .ok_or_else(|| {
                            invalid(format!(
                                "`row_group_rows` is {value}; it must be 1 to {MAX_ROW_GROUP_ROWS}"
                            ))
                        })?;
                }
                "metadata" => {
                    options.metadata = serde_json::from_value(value).map_err(|error| {
                        invalid(format!("`metadata` is not an object of strings: {error}"))
                    })?;
                }
                unknown => return Err(unknown_option(unknown)),
            }
        }
        Ok(options)
    }

    /// `choices` are those for the columns of `schema`, or none.
    fn properties(&self, schema: &Schema, choices: &[Choice]) -> WriterProperties {
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect();
        let mut builder = WriterProperties::builder();
        for (field, choice) in schema.fields().iter().zip(choices) {
            let column = ColumnPath::from(field.name().as_str());
            if !choice.has_dictionary {
                builder = builder.set_column_dictionary_enabled(column.clone(), false);
            }
            if !choice.is_compressed && self.compression == Compression::SNAPPY {
                builder = builder.set_column_compression(column, Compression::UNCOMPRESSED);
            }
        }
        if let Some(encryption) = &self.encryption {
            builder = builder.with_file_encryption_properties(encryption.clone());
        }
        builder
            .set_created_by(concat!("dativo-wasm ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(self.compression)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_key_value_metadata(Some(metadata))
            .build()
    }
}

fn compression(value: &serde_json::Value) -> Result<Compression> {
    match value.as_str() {
        Some("snappy") => Ok(Compression::SNAPPY),
        Some("zstd") => Ok(Compression::ZSTD(ZstdLevel::default())),
        Some("none") => Ok(Compression::UNCOMPRESSED),
        _ => Err(invalid(format!("unknown `compression` {value}"))
            .hint("use `snappy`, `zstd` or `none`")),
    }
}

fn unknown_option(key: &str) -> Failure {
    let nearest = OPTIONS
        .iter()
        .map(|option| (strsim::damerau_levenshtein(key, option), option))
        .min()
        .filter(|(distance, option)| *distance <= option.len() / 2);
    let failure = invalid(format!("unknown Parquet option `{key}`"));
    match nearest {
        Some((_, option)) => failure.hint(format!("did you mean `{option}`?")),
        None => failure.hint(format!("the options are `{}`", OPTIONS.join("`, `"))),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}

/// What is encoded and not taken: shared between the encoder and the writer inside it.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<VecDeque<Vec<u8>>>>);

/// Encoded bytes lie in pieces of this size. A row group is copied here column by column, and a piece fits where a page
/// of an earlier column was; one long run would need room for all of it beside the pages.
const PIECE_BYTES: usize = 256 << 10;

impl Sink {
    fn pieces(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first bytes, at most [`MAX_TAKE_BYTES`].
    fn drain(&self) -> Vec<u8> {
        let mut pieces = self.pieces();
        let held: usize = pieces.iter().map(Vec::len).sum();
        let mut taken = Vec::with_capacity(held.min(MAX_TAKE_BYTES));
        while taken.len() + PIECE_BYTES <= MAX_TAKE_BYTES
            && let Some(piece) = pieces.pop_front()
        {
            taken.extend_from_slice(&piece);
        }
        taken
    }

    fn held_bytes(&self) -> usize {
        self.pieces().iter().map(Vec::capacity).sum()
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pieces = self.pieces();
        let is_full = |piece: &Vec<u8>| piece.len() == PIECE_BYTES;
        if pieces.back().is_none_or(is_full) {
            pieces.push_back(Vec::with_capacity(PIECE_BYTES));
        }
        let Some(last) = pieces.back_mut() else {
            return Ok(0);
        };
        let bytes = bytes.get(..PIECE_BYTES - last.len()).unwrap_or(bytes);
        last.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::*;
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Int32Type};
    use parquet::arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    };
    use parquet::basic::Encoding;
    use parquet::file::metadata::PageIndexPolicy;

    use super::*;

    fn sample(rows: i64) -> RecordBatch {
        let text =
            StringArray::from_iter((0..rows).map(|i| (i % 3 != 0).then(|| format!("row {i}"))));
        let zoned =
            TimestampMicrosecondArray::from_iter_values(0..rows).with_timezone("Europe/Berlin");
        let dictionary: DictionaryArray<Int32Type> =
            (0..rows).map(|i| ["x", "y"][(i % 2) as usize]).collect();
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
            (0..rows).map(|i| Some(vec![Some(i as i32), None])),
        );
        RecordBatch::try_from_iter_with_nullable([
            (
                "n",
                Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef,
                false,
            ),
            ("s", Arc::new(text), true),
            ("t", Arc::new(zoned), true),
            ("d", Arc::new(dictionary), true),
            ("l", Arc::new(list), true),
        ])
        .unwrap()
    }

    #[track_caller]
    fn refuses(options: &str, message: &str, hint: &str) {
        let failure = Encoder::create(sample(1).schema(), options)
            .err()
            .expect(options);
        assert_eq!(failure.kind, ErrorKind::InvalidConfig);
        assert!(failure.message.contains(message), "{failure}");
        assert!(failure.hint.unwrap_or_default().contains(hint));
    }

    #[test]
    fn refuses_options_that_it_does_not_know() {
        refuses("[]", "not a JSON object", "");
        refuses("{", "not a JSON object", "");
        refuses(
            r#"{"compresion":"zstd"}"#,
            "`compresion`",
            "did you mean `compression`?",
        );
        refuses(r#"{"zzz":1}"#, "`zzz`", "the options are");
        refuses(r#"{"compression":"lz4"}"#, "\"lz4\"", "`zstd`");
        refuses(r#"{"row_group_rows":0}"#, "`row_group_rows` is 0", "");
        refuses(r#"{"row_group_rows":-1}"#, "must be 1 to", "");
        refuses(r#"{"row_group_rows":1e30}"#, "must be 1 to", "");
        refuses(r#"{"metadata":{"a":1}}"#, "object of strings", "");
    }

    #[test]
    fn refuses_a_batch_of_another_schema_and_goes_on() {
        let mut encoder = Encoder::create(sample(1).schema(), "{}").unwrap();
        let other = |name, values: ArrayRef| RecordBatch::try_from_iter([(name, values)]).unwrap();
        for batch in [
            sample(1).project(&[0, 1]).unwrap(),
            sample(1).project(&[1, 0, 2, 3, 4]).unwrap(),
            other("n", Arc::new(Int32Array::from(vec![1]))),
        ] {
            let failure = encoder.write(&batch).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::InvalidData);
            assert!(failure.message.contains("column"), "{failure}");
        }
        encoder.write(&sample(3)).unwrap();
        assert_eq!(encoder.rows(), 3);
        encoder.finish().unwrap();
        assert_eq!(
            encoder.write(&sample(3)).unwrap_err().kind,
            ErrorKind::Rejected
        );
        assert_eq!(encoder.finish().unwrap_err().kind, ErrorKind::Rejected);
        assert_eq!(encoder.rows(), 3);
    }

    #[test]
    fn refuses_a_schema_without_a_parquet_form() {
        let empty = Field::new(
            "e",
            DataType::Struct(arrow::datatypes::Fields::empty()),
            true,
        );
        let failure = Encoder::create(Arc::new(Schema::new(vec![empty])), "")
            .err()
            .unwrap();
        assert_eq!(failure.kind, ErrorKind::Rejected);
    }

    /// Writes batches of 700 rows, taking what is ready after each.
    fn encode(options: &str, batches: usize) -> (Vec<u8>, RecordBatch) {
        let batch = sample(700);
        let mut encoder = Encoder::create(batch.schema(), options).unwrap();
        let mut file = Vec::new();
        for _ in 0..batches {
            encoder.write(&batch).unwrap();
            take_all(&mut encoder, &mut file);
            assert!(encoder.size() >= file.len() as u64);
            assert!(encoder.memory_bytes() > 0);
        }
        encoder.finish().unwrap();
        take_all(&mut encoder, &mut file);
        assert_eq!(encoder.size(), file.len() as u64);
        assert_eq!(encoder.memory_bytes(), 0);
        let all = concat_batches(&batch.schema(), &vec![batch.clone(); batches]).unwrap();
        (file, all)
    }

    #[test]
    fn what_was_written_is_read_back_with_its_types() {
        for compression in ["snappy", "zstd", "none"] {
            let (file, expected) = encode(&format!(r#"{{"compression":"{compression}"}}"#), 3);
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(file))
                .unwrap()
                .build()
                .unwrap();
            let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
            assert_eq!(
                concat_batches(&expected.schema(), &batches).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn row_groups_end_where_they_should_with_statistics_and_indexes() {
        let (file, _) = encode(r#"{"row_group_rows":1000,"metadata":{"run":"7f"}}"#, 5);
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = ArrowReaderMetadata::load(&bytes(file), options).unwrap();
        let metadata = metadata.metadata();
        let rows: Vec<i64> = metadata
            .row_groups()
            .iter()
            .map(|group| group.num_rows())
            .collect();
        assert_eq!(rows, [1000, 1000, 1000, 500]);
        assert_eq!(
            metadata
                .row_group(0)
                .column(1)
                .statistics()
                .unwrap()
                .null_count_opt(),
            Some(334)
        );
        assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
        let file = metadata.file_metadata();
        assert_eq!(
            file.created_by(),
            Some(concat!("dativo-wasm ", env!("CARGO_PKG_VERSION")))
        );
        let pairs = file.key_value_metadata().unwrap();
        assert!(
            pairs
                .iter()
                .any(|pair| pair.key == "run" && pair.value.as_deref() == Some("7f"))
        );
    }

    #[test]
    fn a_dictionary_is_not_begun_where_values_hardly_repeat() {
        let rows = 300_000;
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        // As if drawn: the output of SplitMix64.
        let spread = |n: i64, of: i64| {
            let mut mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 1) as i64 % of
        };
        let text: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..rows).map(|n| format!("comment number {}", spread(n, rows))),
        ));
        let batch = RecordBatch::try_from_iter([
            ("few", column((0..rows).map(|n| n % 7).collect())),
            (
                "some",
                column((0..rows).map(|n| spread(n, 20_000)).collect()),
            ),
            ("many", column((0..rows).map(|n| spread(n, rows)).collect())),
            ("sorted", column((0..rows).map(|n| n / 4).collect())),
            ("text", text),
            ("null", Arc::new(Int64Array::new_null(rows as usize))),
        ])
        .unwrap();
        let mut encoder = Encoder::create(batch.schema(), "").unwrap();
        // What was taken before the first batch is no part of the file yet.
        assert_eq!(encoder.take(), b"");
        encoder.write(&batch).unwrap();
        let mut file = Vec::new();
        take_all(&mut encoder, &mut file);
        encoder.finish().unwrap();
        take_all(&mut encoder, &mut file);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(file)).unwrap();
        let row_group = reader.metadata().row_group(0).clone();
        let has_dictionary = |column: usize| {
            let mut encodings = row_group.column(column).encodings();
            encodings.any(|encoding| encoding == Encoding::RLE_DICTIONARY)
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(has_dictionary),
            [true, true, false, false, false, true]
        );
        let read: Vec<RecordBatch> = reader
            .build()
            .unwrap()
            .map(|batch| batch.unwrap())
            .collect();
        assert_eq!(concat_batches(&batch.schema(), &read).unwrap(), batch);
    }

    #[test]
    fn a_row_group_of_one_row_is_slow_and_harmless() {
        let (file, expected) = encode(r#"{"row_group_rows":1,"compression":"none"}"#, 1);
        let metadata = ArrowReaderMetadata::load(&bytes(file), ArrowReaderOptions::new()).unwrap();
        assert_eq!(metadata.metadata().num_row_groups(), expected.num_rows());
    }

    #[test]
    fn a_row_group_also_ends_at_its_size() {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..(3 * ROW_GROUP_BYTES / 2) >> 20).map(|i| {
                char::from(b'a' + (i % 26) as u8)
                    .to_string()
                    .repeat(1 << 20)
            }),
        ));
        let batch = RecordBatch::try_from_iter([("s", values)]).unwrap();
        let mut encoder = Encoder::create(batch.schema(), r#"{"compression":"none"}"#).unwrap();
        let mut taken = 0;
        for row in 0..batch.num_rows() {
            encoder.write(&batch.slice(row, 1)).unwrap();
            let mut ready = Vec::new();
            take_all(&mut encoder, &mut ready);
            taken += ready.len();
            assert!(encoder.memory_bytes() < 2 * ROW_GROUP_BYTES);
        }
        assert!(
            (ROW_GROUP_BYTES..2 * ROW_GROUP_BYTES).contains(&taken),
            "{taken}"
        );
    }

    #[test]
    fn a_file_without_rows_is_a_file() {
        let (file, _) = encode("", 0);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(file)).unwrap();
        assert_eq!(reader.schema().fields(), sample(0).schema().fields());
    }

    fn take_all(encoder: &mut Encoder, file: &mut Vec<u8>) {
        loop {
            let taken = encoder.take();
            assert!(taken.len() <= MAX_TAKE_BYTES);
            if taken.is_empty() {
                return;
            }
            file.extend(taken);
        }
    }

    fn bytes(file: Vec<u8>) -> std::fs::File {
        let mut readable = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut readable, &file).unwrap();
        readable
    }
}
