//! The messages of an IPC stream: their order, their lengths, and the numbers in them that would cost memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::{self, MetadataVersion, convert, reader};

use super::{Unsound, sound, unsound};

/// Values that a batch may hold beyond those that its bytes can stand for (a bit is the smallest value).
///
/// Null columns, empty structs and batches without columns have rows that cost nothing to claim and time to process.
const FREE_VALUES: u64 = 1 << 24;

const CONTINUATION: [u8; 4] = [0xff; 4];

/// A schema, dictionaries that it uses, one batch, and nothing after the end.
pub fn read_batch(stream: &Buffer) -> Result<RecordBatch, Unsound> {
    let mut frames = Frames {
        rest: stream.clone(),
    };
    let schema = schema_of(&frames.expect("a schema")?)?;
    let mut dictionaries = HashMap::new();
    let mut seen = HashSet::new();
    loop {
        let frame = frames.expect("a batch")?;
        let message = frame.message()?;
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            if dictionary.isDelta() {
                return unsound("it holds a delta dictionary; send each dictionary whole");
            }
            if !seen.insert(dictionary.id()) {
                return unsound(format!("dictionary {} is there twice", dictionary.id()));
            }
            let Some(data) = dictionary.data() else {
                return unsound("a dictionary without data");
            };
            check_numbers(data, &frame.body)?;
            reader::read_dictionary(
                &frame.body,
                dictionary,
                &schema,
                &mut dictionaries,
                &message.version(),
            )?;
        } else if let Some(data) = message.header_as_record_batch() {
            check_numbers(data, &frame.body)?;
            frames.expect_end()?;
            let version = message.version();
            let batch = reader::read_record_batch(
                &frame.body,
                data,
                schema.clone(),
                &dictionaries,
                None,
                &version,
            )?;
            // A column of a type that carries no length of its own is as long as it says, not as the batch says.
            if batch.columns().iter().any(|c| c.len() != batch.num_rows()) {
                return unsound("a column is not as long as its batch");
            }
            batch.columns().iter().try_for_each(sound::check_values)?;
            return Ok(batch);
        } else {
            return unsound(
                "a message that is neither a dictionary nor a batch follows the schema",
            );
        }
    }
}

/// A schema and nothing else.
pub fn read_schema(stream: &Buffer) -> Result<Schema, Unsound> {
    let mut frames = Frames {
        rest: stream.clone(),
    };
    let schema = schema_of(&frames.expect("a schema")?)?;
    frames.expect_end()?;
    Ok(Arc::unwrap_or_clone(schema))
}

fn schema_of(frame: &Frame) -> Result<SchemaRef, Unsound> {
    let message = frame.message()?;
    let Some(schema) = message.header_as_schema() else {
        return unsound("the stream does not begin with a schema");
    };
    if schema.endianness() != ipc::Endianness::Little {
        return unsound("it is big-endian");
    }
    sound::check_size(schema, frame.metadata.len())?;
    let schema = convert::fb_to_schema(schema);
    sound::check_types(&schema)?;
    Ok(Arc::new(schema))
}

/// Refuses what would make the decoder allocate, or loop, for more than `body` holds.
fn check_numbers(data: ipc::RecordBatch<'_>, body: &Buffer) -> Result<(), Unsound> {
    if data.compression().is_some() {
        return unsound("its buffers are compressed; write the stream without compression");
    }
    if data
        .variadicBufferCounts()
        .is_some_and(|counts| !counts.is_empty())
    {
        return unsound("it has view buffers");
    }
    let body_bytes = body.len() as u64;
    // A buffer that is not aligned is copied, so overlapping buffers could multiply the body.
    let mut claimed_bytes = 0u64;
    for buffer in data.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (
            u64::try_from(buffer.offset()),
            u64::try_from(buffer.length()),
        ) else {
            return unsound("a buffer has a negative offset or length");
        };
        claimed_bytes = claimed_bytes.saturating_add(length);
        // Writers leave any offset on an empty buffer.
        if length > 0 && offset.saturating_add(length) > body_bytes {
            return unsound(format!(
                "a buffer of {length} bytes at {offset} reaches past the {body_bytes} bytes of its message"
            ));
        }
    }
    if claimed_bytes > body_bytes {
        return unsound("its buffers overlap");
    }
    let allowed = body_bytes.saturating_mul(8).saturating_add(FREE_VALUES);
    let mut values = u64::try_from(data.length()).unwrap_or(u64::MAX);
    for node in data.nodes().into_iter().flatten() {
        let (Ok(length), Ok(nulls)) = (
            u64::try_from(node.length()),
            u64::try_from(node.null_count()),
        ) else {
            return unsound("a column has a negative length");
        };
        if nulls > length {
            return unsound("a column has more nulls than rows");
        }
        values = values.saturating_add(length);
    }
    if values > allowed {
        return unsound(format!(
            "it claims {values} values in {body_bytes} bytes; at most {allowed} can be there"
        ));
    }
    Ok(())
}

struct Frames {
    rest: Buffer,
}

struct Frame {
    metadata: Buffer,
    body: Buffer,
}

impl Frames {
    fn expect(&mut self, what: &str) -> Result<Frame, Unsound> {
        match self.next()? {
            Some(frame) => Ok(frame),
            None => unsound(format!("it ends where {what} should be")),
        }
    }

    fn expect_end(&mut self) -> Result<(), Unsound> {
        match self.next()? {
            None => Ok(()),
            Some(_) => unsound("more messages follow than belong there"),
        }
    }

    /// `None` at the end: the end mark with nothing behind it, or the end of the bytes between two messages.
    fn next(&mut self) -> Result<Option<Frame>, Unsound> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.take_u32()?;
        if length == CONTINUATION {
            length = self.take_u32()?;
        }
        let length = u32::from_le_bytes(length);
        if length == 0 {
            return match self.rest.len() {
                0 => Ok(None),
                more => unsound(format!("{more} bytes follow its end")),
            };
        }
        let metadata = self.take(u64::from(length))?;
        // Flatbuffers are read in place and must lie on 8 bytes; the bytes of a guest may lie anywhere.
        let metadata = match metadata.as_ptr().align_offset(8) {
            0 => metadata,
            _ => Buffer::from(metadata.as_slice()),
        };
        let frame = Frame {
            metadata,
            body: Buffer::from_vec(Vec::<u8>::new()),
        };
        let body_length = frame.message()?.bodyLength();
        let Ok(body_length) = u64::try_from(body_length) else {
            return unsound("a message has a negative length");
        };
        let body = self.take(body_length)?;
        Ok(Some(Frame { body, ..frame }))
    }

    fn take(&mut self, length: u64) -> Result<Buffer, Unsound> {
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => {
                let taken = self.rest.slice_with_length(0, length);
                self.rest.advance(length);
                Ok(taken)
            }
            _ => unsound(format!(
                "it is cut: {length} bytes should follow where {} are",
                self.rest.len()
            )),
        }
    }

    fn take_u32(&mut self) -> Result<[u8; 4], Unsound> {
        let bytes = self.take(4)?;
        match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(bytes),
            Err(_) => unsound("it is cut"),
        }
    }
}

impl Frame {
    fn message(&self) -> Result<ipc::Message<'_>, Unsound> {
        let message = match ipc::root_as_message(&self.metadata) {
            Ok(message) => message,
            // The verifier's text is a trace of many lines.
            Err(_) => return unsound("a message is not a flatbuffer of Arrow's schema"),
        };
        match message.version() {
            MetadataVersion::V4 | MetadataVersion::V5 => Ok(message),
            other => unsound(format!(
                "metadata version {}; 4 and 5 are read",
                other.0 + 1
            )),
        }
    }
}
