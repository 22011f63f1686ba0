//! Rules about all rows of a run together: how many there are, and how new the newest is.
//!
//! Counts come from every split; the verdict is passed once, before anything is committed. The clock
//! is the caller's.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;

use super::types::{Type, per_second};
use super::{Contract, Dataset};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// What the good rows of a run add up to.
pub struct Facts {
    rows: AtomicU64,
    /// The newest value of the freshness column, in its own unit; `i64::MIN` for none.
    newest: AtomicI64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            rows: AtomicU64::new(0),
            newest: AtomicI64::new(i64::MIN),
        }
    }
}

impl Facts {
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
    }

    /// Takes the good values of the freshness column.
    pub fn add_times(&self, values: &ArrayRef) -> Result<(), ArrowError> {
        let numbers = match values.data_type() {
            DataType::Date32 => cast(&cast(values, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(values, &DataType::Int64)?,
        };
        if let Some(newest) = max(numbers.as_primitive::<Int64Type>()) {
            self.newest.fetch_max(newest, Relaxed);
        }
        Ok(())
    }

    /// Every rule about the whole that is broken, as a sentence.
    pub fn broken(&self, contract: &Contract, now: SystemTime) -> Vec<String> {
        let Dataset {
            min_rows, max_rows, ..
        } = contract.dataset;
        let (name, rows) = (&contract.name, self.rows.load(Relaxed));
        let mut broken = Vec::new();
        if let Some(min) = min_rows.filter(|min| rows < *min) {
            broken.push(format!(
                "the run has {rows} good rows, and contract `{name}` wants at least {min}"
            ));
        }
        if let Some(max) = max_rows.filter(|max| rows > *max) {
            broken.push(format!(
                "the run has {rows} good rows, and contract `{name}` wants at most {max}"
            ));
        }
        broken.extend(self.stale(contract, now));
        broken
    }

    fn stale(&self, contract: &Contract, now: SystemTime) -> Option<String> {
        let freshness = contract.dataset.freshness.as_ref()?;
        let column = contract
            .columns
            .iter()
            .find(|column| column.name == freshness.column)?;
        let wanted = humantime::format_duration(freshness.max_age);
        let newest = match self.newest.load(Relaxed) {
            i64::MIN => {
                return Some(format!(
                    "column `{}` of contract `{}` has no value, and its newest must not be older than {wanted}",
                    column.name, contract.name
                ));
            }
            newest => seconds(newest, &column.kind),
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let age = i64::try_from(now)
            .unwrap_or(i64::MAX)
            .saturating_sub(newest);
        let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
        // The age of a masked value would tell the value.
        let is = match column.mask {
            Some(_) => "is too old".to_owned(),
            None => format!("is {} old", humantime::format_duration(age)),
        };
        (age > freshness.max_age).then(|| {
            format!(
                "the newest `{}` of contract `{}` {is}, and must not be older than {wanted}",
                column.name, contract.name,
            )
        })
    }
}

/// Seconds since 1970, of a value of a date or timestamp; without a zone it is taken for UTC.
fn seconds(value: i64, kind: &Type) -> i64 {
    match kind {
        Type::Timestamp { unit, .. } => value.div_euclid(per_second(*unit)),
        _ => value.saturating_mul(SECONDS_PER_DAY),
    }
}
