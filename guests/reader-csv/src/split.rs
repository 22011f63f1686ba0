//! Pieces of a file that are read side by side, as plain text.

use std::io::Read;

use dativo_connector::{ByteReader, Error, Result};
use serde::{Deserialize, Serialize};

use crate::FileVersion;
use crate::boundary::{Boundaries, Start};
use crate::config::Config;
use crate::table::{Range, Table};

/// One piece: a range of bytes that begins and ends between records, and the columns.
#[derive(Serialize, Deserialize)]
pub struct Split {
    url: String,
    size: u64,
    modified_ms: u64,
    pub start: u64,
    /// Where the next piece begins; none for the last one.
    end: Option<u64>,
    /// The line that begins at `start`, from 1.
    line: u64,
    pub table: Table,
}

impl Split {
    /// The file in one piece.
    pub fn whole(file: &FileVersion, table: Table) -> Self {
        Self::new(file, table, Start { offset: 0, line: 1 }, None)
    }

    fn new(file: &FileVersion, table: Table, start: Start, end: Option<u64>) -> Self {
        Self {
            url: file.url.clone(),
            size: file.size,
            modified_ms: file.modified_ms,
            start: start.offset,
            end,
            line: start.line,
            table,
        }
    }

    pub fn range(&self) -> Range {
        Range {
            start: self.start,
            end: self.end,
            line: self.line,
        }
    }

    /// Whether the piece was cut from this version of the file.
    pub fn is_of(&self, file: &FileVersion) -> bool {
        (&self.url, self.size, self.modified_ms) == (&file.url, file.size, file.modified_ms)
    }

    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::internal(error.to_string()))
    }

    pub fn from_text(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::internal(format!("a split cannot be read: {error}")))
    }
}

/// Cuts a plain file into up to `max` pieces of about the same length.
pub fn cut(config: &Config, file: &FileVersion, table: Table, max: u32) -> Result<Vec<Split>> {
    let count = u64::from(max).min(file.size / config.split_bytes).max(1);
    let wanted: Vec<u64> = (1..count).map(|piece| file.size * piece / count).collect();
    let mut starts = vec![Start { offset: 0, line: 1 }];
    starts.extend(
        find(config, &table, wanted)?
            .into_iter()
            .filter(|at| at.offset < file.size),
    );
    let ends = starts
        .iter()
        .skip(1)
        .map(|start| Some(start.offset))
        .chain([None]);
    let splits = starts.iter().zip(ends);
    Ok(splits
        .map(|(start, end)| Split::new(file, table.clone(), *start, end))
        .collect())
}

fn find(config: &Config, table: &Table, wanted: Vec<u64>) -> Result<Vec<Start>> {
    let from = Start {
        offset: table.data_offset,
        line: table.data_line,
    };
    let wanted = wanted
        .into_iter()
        .filter(|offset| *offset > from.offset)
        .collect();
    let mut boundaries = Boundaries::new(config.dialect(), from, wanted);
    let mut input = ByteReader::open(&config.file_path, from.offset, "none")?;
    let mut block = vec![0; 1 << 20];
    while !boundaries.is_done() {
        let count = input.read(&mut block).map_err(ByteReader::error)?;
        if count == 0 {
            break;
        }
        boundaries.feed(&block[..count]);
    }
    Ok(boundaries.found())
}
