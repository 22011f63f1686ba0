//! An object's bytes in order, decompressed where asked. Blocks.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use rustix::io::Errno;

use super::local::{self, file_failure};
use super::s3;
use crate::capabilities::aws::Aws;
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::Place;
use crate::capabilities::object_store::name::Store;

/// Largest answer of [`ByteStream::next`], in bytes.
pub const MAX_NEXT_BYTES: u32 = 16 << 20;

/// Compressed bytes read from the file at a time.
const COMPRESSED_BUFFER_BYTES: usize = 128 << 10;

/// Largest window that a zstd frame may ask for, as a power of two: 32 MiB, four times what level 19 uses. It is
/// memory of the host for each open stream.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;

pub struct ByteStream {
    name: String,
    bytes: Bytes,
    compression: Compression,
}

enum Bytes {
    File(File),
    /// From the network, or out of a decoder.
    Other(Box<dyn Read + Send>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Zstd,
}

/// What each compression is called, how its files end, and what checks them.
const COMPRESSIONS: [(Compression, &str, &str, &str); 3] = [
    (Compression::Gzip, "gzip", ".gz", "gzip --test"),
    (Compression::Bzip2, "bzip2", ".bz2", "bzip2 --test"),
    (Compression::Zstd, "zstd", ".zst", "zstd --test"),
];

impl Compression {
    fn parse(text: &str, name: &str) -> Result<Self> {
        let name = name.to_ascii_lowercase();
        let found = COMPRESSIONS
            .iter()
            .find(|(_, called, ending, _)| match text {
                "auto" => name.ends_with(ending),
                text => text == *called,
            });
        match (found, text) {
            (Some((compression, ..)), _) => Ok(*compression),
            (None, "none" | "auto") => Ok(Self::None),
            (None, other) => Err(invalid(format!("unknown compression `{other}`"))
                .hint("use `none`, `gzip`, `bzip2`, `zstd` or `auto`")),
        }
    }
}

impl ByteStream {
    /// `compression` is `none`, `gzip`, `bzip2`, `zstd` or `auto`, which goes by the name.
    pub fn open(aws: &Arc<Aws>, place: &Place, offset: u64, compression: &str) -> Result<Self> {
        let name = place.written().to_owned();
        let compression = Compression::parse(compression, &name)?;
        if compression != Compression::None && offset != 0 {
            return Err(invalid(format!(
                "`{name}` is compressed and can only be read from its start"
            )));
        }
        let (source, is_empty) = match place.store() {
            Store::Local => local_source(place, offset)?,
            Store::S3 => s3_source(aws, place, offset)?,
        };
        let mut stream = Self {
            name,
            bytes: source,
            compression,
        };
        // Of the decoders only that of gzip says that nothing is too little.
        if compression != Compression::None && is_empty {
            return Err(stream.failure(io::ErrorKind::UnexpectedEof.into()));
        }
        if compression != Compression::None {
            let source = std::mem::replace(&mut stream.bytes, Bytes::Other(Box::new(io::empty())));
            let decoder = decoder(compression, source).map_err(|error| stream.failure(error))?;
            stream.bytes = Bytes::Other(decoder);
        }
        Ok(stream)
    }

    /// The most host memory that it takes, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self.compression {
            Compression::None | Compression::Gzip => 256 << 10,
            // A block of 900 kB, its table of 3.6 MB, and the buffer.
            Compression::Bzip2 => 5 << 20,
            Compression::Zstd => (1 << MAX_ZSTD_WINDOW_LOG) + (1 << 20),
        }
    }

    /// The next bytes: `max` of them, fewer only at the end, `None` after it.
    pub fn next(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        if max == 0 {
            return Err(invalid("`next` was asked for 0 bytes".to_owned()));
        }
        let max = u64::from(max.min(MAX_NEXT_BYTES));
        let mut bytes = Vec::with_capacity(usize::try_from(max).unwrap_or(0));
        let read = match &mut self.bytes {
            Bytes::File(file) => fill(file, &mut bytes),
            Bytes::Other(reader) => reader.take(max).read_to_end(&mut bytes),
        };
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(bytes)),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(failure) = inner {
            return Failure::clone(failure);
        }
        let known = COMPRESSIONS.iter().find(|row| row.0 == self.compression);
        // The decoders' own errors carry no number of the operating system.
        let Some((_, called, _, check)) = known.filter(|_| error.raw_os_error().is_none()) else {
            return file_failure(&self.name)(error);
        };
        let text = error.to_string();
        if text.contains("too much memory") {
            let limit = 1u64 << (MAX_ZSTD_WINDOW_LOG - 20);
            let message = format!(
                "`{}` needs a zstd window of more than {limit} MiB",
                self.name
            );
            return Failure::new(ErrorKind::LimitExceeded, message)
                .hint("compress it with a smaller window, such as `zstd -19` without `--long`");
        }
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("is cut: its {called} data ends too early"),
            _ => format!("holds damaged {called} data ({text})"),
        };
        Failure::new(ErrorKind::InvalidData, format!("`{}` {what}", self.name))
            .hint(format!("check it with `{check} {}`", self.name))
    }
}

fn local_source(place: &Place, offset: u64) -> Result<(Bytes, bool)> {
    let failure = file_failure(place.written());
    let mut file = local::open(place).map_err(&failure)?;
    let length = file.metadata().map_err(&failure)?.len();
    // File systems refuse to seek past the largest file that they could hold.
    file.seek(SeekFrom::Start(offset.min(length)))
        .map_err(&failure)?;
    Ok((Bytes::File(file), length == 0))
}

fn s3_source(aws: &Arc<Aws>, place: &Place, offset: u64) -> Result<(Bytes, bool)> {
    let body = s3::Body::open_blocking(aws, place, offset)?;
    let is_empty = body.is_empty();
    Ok((Bytes::Other(Box::new(body)), is_empty))
}

fn decoder(compression: Compression, source: Bytes) -> io::Result<Box<dyn Read + Send>> {
    let source: Box<dyn Read + Send> = match source {
        Bytes::File(file) => Box::new(file),
        Bytes::Other(reader) => reader,
    };
    let source = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, source);
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(source)),
        Compression::Zstd => Box::new(zstd_decoder(source)?),
    })
}

/// Reads until the capacity of `bytes` is used, or the file ends. The standard library would begin with small reads.
fn fill(file: &File, bytes: &mut Vec<u8>) -> io::Result<usize> {
    while bytes.len() < bytes.capacity() {
        match rustix::io::read(file, rustix::buffer::spare_capacity(bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes.len())
}

fn zstd_decoder<R: io::BufRead>(from: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
    decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}
