//! One function an occasion, one arm a rule that is broken.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch as Rows, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema as ArrowSchema};

use crate::dativo::connector::data::{Blob, RecordBatch, Schema};
use crate::dativo::connector::log;
use crate::dativo::connector::types::{Error, ErrorKind};
use crate::error;

const TEXT: &str = "some text";

pub fn on_open(attack: &str) -> Result<(), Error> {
    match attack {
        "open-error" => Err(error(
            ErrorKind::InvalidConfig,
            "the config is not to my taste",
        )),
        "open-panic" => panic!("panicked in open"),
        "escape" => escape(),
        _ => Ok(()),
    }
}

pub fn schema(attack: &str) -> Result<Schema, Error> {
    if attack == "schema-not-arrow" {
        return Schema::from_ipc(&[0xff; 64]);
    }
    let mut ipc = Vec::new();
    StreamWriter::try_new(&mut ipc, &rows(0).schema())
        .unwrap()
        .finish()
        .unwrap();
    Schema::from_ipc(&ipc)
}

pub fn on_next(attack: &str, call: u32, max_rows: u32) -> Result<Option<RecordBatch>, Error> {
    match attack {
        "endless-loop" => loop {
            std::hint::black_box(call);
        },
        "memory-bomb" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        "table-bomb" => {
            while grow_table() >= 0 {}
            panic!("the table did not grow");
        }
        "stack-overflow" => Err(overflowed(deep)),
        "memory-stack-overflow" => Err(overflowed(deep_in_memory)),
        "panic" => panic!("panicked in next"),
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            Ok(None)
        }
        "not-arrow" => RecordBatch::from_ipc(b"these bytes are not Arrow").map(Some),
        "empty-ipc" => RecordBatch::from_ipc(&[]).map(Some),
        "bad-offsets" => RecordBatch::from_ipc(&corrupt_offsets()).map(Some),
        "bad-utf8" => RecordBatch::from_ipc(&corrupt_text()).map(Some),
        "other-schema" => {
            let text: StringArray = vec![TEXT].into();
            hand_over(&Rows::try_from_iter([("n", Arc::new(text) as _)]).unwrap())
        }
        "too-many-rows" => hand_over(&rows(i64::from(max_rows) + 1)),
        "empty-forever" => hand_over(&rows(0)),
        "endless-rows" => hand_over(&rows(i64::from(max_rows))),
        "wrong-handle" => {
            let blob = Blob::from_list(b"not a batch")?;
            // A handle of another resource type in place of a batch.
            Ok(Some(unsafe {
                RecordBatch::from_handle(blob.take_handle())
            }))
        }
        "no-handle" => Ok(Some(unsafe { RecordBatch::from_handle(4_000_000_000) })),
        "call-after-error" if call == 1 => Err(error(
            ErrorKind::Rejected,
            "failed once and must not be asked again",
        )),
        "call-after-error" => {
            log::write(log::Level::Error, "CALLED AFTER AN ERROR");
            Ok(None)
        }
        "million-handles" => {
            for _ in 0..1_000_000 {
                std::mem::forget(Blob::from_list(b"x")?);
            }
            Ok(None)
        }
        "host-memory" => {
            let block = vec![0u8; 8 << 20];
            loop {
                std::mem::forget(Blob::from_list(&block)?);
            }
        }
        "loud-error" => Err(error(
            ErrorKind::Rejected,
            format!("\x1b[2J{}\n", "long ".repeat(100_000)),
        )),
        "log-flood" if call == 1 => {
            for line in 0..200_000 {
                println!("line {line} of a flood\x1b[2J");
            }
            hand_over(&rows(1))
        }
        _ if call <= 3 => hand_over(&rows(10)),
        _ => Ok(None),
    }
}

/// Everything that WASI could give and must not.
fn escape() -> Result<(), Error> {
    let mut found = Vec::new();
    for path in ["/etc/passwd", "/", ".", "Cargo.toml"] {
        if std::fs::metadata(path).is_ok() || std::fs::File::open(path).is_ok() {
            found.push(format!("file {path}"));
        }
    }
    if std::fs::write("/tmp/hostile-was-here", "x").is_ok() {
        found.push("a file was written".to_owned());
    }
    if std::env::vars().next().is_some() || std::env::args().next().is_some() {
        found.push("environment or arguments".to_owned());
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    match std::net::TcpStream::connect(address) {
        Ok(_) => found.push("a socket connected".to_owned()),
        Err(refused) if refused.kind() == std::io::ErrorKind::ConnectionRefused => {
            found.push("a socket reached the network".to_owned());
        }
        Err(_) => {}
    }
    if std::net::UdpSocket::bind("127.0.0.1:0").is_ok() {
        found.push("a UDP socket was bound".to_owned());
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(error(
            ErrorKind::Internal,
            format!("escaped: {}", found.join(", ")),
        )),
    }
}

/// Adds ten million elements to the function table; less than 0 where that was refused.
fn grow_table() -> i32 {
    let mut grown: i32;
    unsafe {
        core::arch::asm!(
            ".tabletype __indirect_function_table, funcref",
            "ref.null_func",
            "i32.const 10000000",
            "table.grow __indirect_function_table",
            "local.set {0}",
            out(local) grown,
        );
    }
    grown
}

fn overflowed(recurse: fn(u64, u64) -> u64) -> Error {
    error(
        ErrorKind::Internal,
        recurse(0, std::hint::black_box(u64::MAX)).to_string(),
    )
}

/// Recursion on the stack of the machine; the compiler cannot know that it does not end.
fn deep(depth: u64, end: u64) -> u64 {
    match depth == end {
        true => 0,
        false => deep(depth + 1, end).rotate_left(7) ^ depth.wrapping_mul(31),
    }
}

/// Recursion on the stack that the language keeps in linear memory.
fn deep_in_memory(depth: u64, end: u64) -> u64 {
    let padding = std::hint::black_box([depth; 64]);
    match depth == end {
        true => 0,
        false => deep_in_memory(depth + 1, end) ^ padding[(depth % 64) as usize],
    }
}

fn rows(count: i64) -> Rows {
    let schema = ArrowSchema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let numbers: Int64Array = (0..count).collect::<Vec<_>>().into();
    let texts: StringArray = vec![TEXT; count as usize].into();
    Rows::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
}

fn ipc(rows: &Rows) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn hand_over(rows: &Rows) -> Result<Option<RecordBatch>, Error> {
    RecordBatch::from_ipc(&ipc(rows)).map(Some)
}

/// A batch whose string offsets point far outside the buffer of its text.
fn corrupt_offsets() -> Vec<u8> {
    let mut bytes = ipc(&rows(2));
    let length = TEXT.len() as i32;
    let offsets: Vec<u8> = [0, length, 2 * length]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let at = find(&bytes, &offsets);
    bytes[at + 8..at + 12].copy_from_slice(&i32::MAX.to_le_bytes());
    bytes
}

/// A batch whose text is not UTF-8.
fn corrupt_text() -> Vec<u8> {
    let mut bytes = ipc(&rows(2));
    let at = find(&bytes, TEXT.as_bytes());
    bytes[at] = 0xff;
    bytes
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap()
}
