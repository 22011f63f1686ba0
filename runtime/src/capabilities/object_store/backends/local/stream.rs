//! An object's bytes in order, decompressed where asked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::MultiGzDecoder;

use super::folder::{self, failure};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::grant::Place;

/// Largest answer of [`ByteStream::next`], in bytes.
pub const MAX_NEXT_BYTES: u32 = 16 << 20;

/// Compressed bytes read from the file at a time.
const COMPRESSED_BUFFER_BYTES: usize = 128 << 10;

pub struct ByteStream {
    name: String,
    bytes: Bytes,
}

enum Bytes {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl ByteStream {
    /// `compression` is `none`, `gzip` or `auto`, which goes by the name.
    pub fn open(place: &Place, offset: u64, compression: &str) -> Result<Self> {
        let name = place.written().to_owned();
        let is_gzip = match compression {
            "none" => false,
            "gzip" => true,
            "auto" => name.to_ascii_lowercase().ends_with(".gz"),
            other => {
                return Err(invalid(format!("unknown compression `{other}`"))
                    .hint("use `none`, `gzip` or `auto`"));
            }
        };
        if is_gzip && offset != 0 {
            return Err(invalid(format!(
                "`{name}` is compressed and can only be read from its start"
            )));
        }
        let mut file = folder::open(place).map_err(failure(&name))?;
        let bytes = if is_gzip {
            let buffered = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, file);
            Bytes::Gzip(Box::new(MultiGzDecoder::new(buffered)))
        } else {
            // File systems refuse to seek past the largest file that they could hold.
            file.metadata()
                .and_then(|metadata| file.seek(SeekFrom::Start(offset.min(metadata.len()))))
                .map_err(failure(&name))?;
            Bytes::Plain(file)
        };
        Ok(Self { name, bytes })
    }

    /// The next bytes: `max` of them, fewer only at the end, `None` after it.
    pub fn next(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
        if max == 0 {
            return Err(invalid("`next` was asked for 0 bytes".to_owned()));
        }
        let max = u64::from(max.min(MAX_NEXT_BYTES));
        let mut bytes = Vec::new();
        let read = match &mut self.bytes {
            Bytes::Plain(file) => {
                bytes.reserve_exact(usize::try_from(max).unwrap_or(0));
                file.take(max).read_to_end(&mut bytes)
            }
            Bytes::Gzip(decoder) => decoder.take(max).read_to_end(&mut bytes),
        };
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(bytes)),
            Err(error) => Err(self.failure(error)),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        // The decoder's own errors carry no number of the operating system.
        if error.raw_os_error().is_some() {
            return failure(&self.name)(error);
        }
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "is cut: its gzip data ends too early".to_owned(),
            _ => format!("holds damaged gzip data ({error})"),
        };
        Failure::new(ErrorKind::InvalidData, format!("`{}` {what}", self.name))
            .hint(format!("check it with `gzip --test {}`", self.name))
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(ErrorKind::InvalidConfig, message)
}
