//! An object's bytes in order, decompressed where asked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use rustix::io::Errno;

use super::folder::{self, failure};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::Place;

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
    Plain(File),
    Decoded(Box<dyn Read + Send>),
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
    pub fn open(place: &Place, offset: u64, compression: &str) -> Result<Self> {
        let name = place.written().to_owned();
        let compression = Compression::parse(compression, &name)?;
        if compression != Compression::None && offset != 0 {
            return Err(invalid(format!(
                "`{name}` is compressed and can only be read from its start"
            )));
        }
        let mut file = folder::open(place).map_err(failure(&name))?;
        let length = file.metadata().map_err(failure(&name))?.len();
        // File systems refuse to seek past the largest file that they could hold.
        file.seek(SeekFrom::Start(offset.min(length)))
            .map_err(failure(&name))?;
        let buffered = |file| BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, file);
        let bytes = match compression {
            Compression::None => Bytes::Plain(file),
            Compression::Gzip => Bytes::Decoded(Box::new(MultiGzDecoder::new(buffered(file)))),
            Compression::Bzip2 => Bytes::Decoded(Box::new(MultiBzDecoder::new(buffered(file)))),
            Compression::Zstd => {
                let decoder = zstd_decoder(buffered(file)).map_err(failure(&name))?;
                Bytes::Decoded(Box::new(decoder))
            }
        };
        let stream = Self {
            name,
            bytes,
            compression,
        };
        // Of the decoders only that of gzip says that nothing is too little.
        if compression != Compression::None && length == 0 {
            return Err(stream.failure(io::ErrorKind::UnexpectedEof.into()));
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
            Bytes::Plain(file) => fill(file, &mut bytes),
            Bytes::Decoded(decoder) => decoder.take(max).read_to_end(&mut bytes),
        };
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(bytes)),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        let known = COMPRESSIONS.iter().find(|row| row.0 == self.compression);
        // The decoders' own errors carry no number of the operating system.
        let Some((_, called, _, check)) = known.filter(|_| error.raw_os_error().is_none()) else {
            return failure(&self.name)(error);
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
