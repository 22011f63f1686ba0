//! What a run counted: shared between its splits and whoever shows progress.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Counters of a run. Updated once a batch, so their cost does not show.
#[derive(Default)]
pub struct Metrics {
    splits: Mutex<Vec<Arc<SplitMetrics>>>,
    first_batch: Arc<OnceLock<Duration>>,
}

/// Counters of one split.
#[derive(Default)]
pub struct SplitMetrics {
    pub rows_read: AtomicU64,
    pub rows_written: AtomicU64,
    /// Rows that broke the contract and went to the dead letter.
    pub rows_rejected: AtomicU64,
    /// Arrow memory of the batches read, in bytes.
    pub bytes_read: AtomicU64,
    /// Share that was read, in millionths; 0 where the reader does not know.
    pub progress_millionths: AtomicU64,
    /// Times that it was begun again, since its source was lost.
    retries: AtomicU64,
    first_batch: Arc<OnceLock<Duration>>,
}

impl SplitMetrics {
    /// Counts a batch that the reader yielded.
    pub fn batch_read(&self, rows: u64, bytes: u64) {
        self.first_batch.get_or_init(since_process_start);
        self.rows_read.fetch_add(rows, Relaxed);
        self.bytes_read.fetch_add(bytes, Relaxed);
    }

    /// The split is read again: what was counted so far is undone. Nobody counts meanwhile.
    pub fn begin_again(&self) {
        for counter in [
            &self.rows_read,
            &self.rows_written,
            &self.rows_rejected,
            &self.bytes_read,
            &self.progress_millionths,
        ] {
            counter.store(0, Relaxed);
        }
        self.retries.fetch_add(1, Relaxed);
    }
}

/// Time since the system started this process, to 10 ms; zero where it does not tell.
fn since_process_start() -> Duration {
    let started = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may hold spaces; the 20th field after it is the start.
        let ticks: u64 = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(19)?
            .parse()
            .ok()?;
        let uptime: f64 = {
            let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
            uptime.split_whitespace().next()?.parse().ok()?
        };
        Some(Duration::from_secs_f64(
            (uptime - ticks as f64 / 100.0).max(0.0),
        ))
    };
    started().unwrap_or_default()
}

/// The sum over all splits at one moment.
#[derive(Default, Clone, Copy)]
pub struct Totals {
    pub splits: usize,
    pub rows_read: u64,
    pub rows_written: u64,
    pub rows_rejected: u64,
    pub bytes_read: u64,
    /// From 0 to 1.
    pub progress: f64,
    /// Times that a split was begun again, since its source was lost.
    pub retries: u64,
}

impl Metrics {
    /// The counters of one more split.
    pub fn split(&self) -> Arc<SplitMetrics> {
        let split = Arc::new(SplitMetrics {
            first_batch: self.first_batch.clone(),
            ..SplitMetrics::default()
        });
        self.splits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(split.clone());
        split
    }

    /// When the first batch of any split came, since the process started.
    pub fn first_batch(&self) -> Option<Duration> {
        self.first_batch.get().copied()
    }

    pub fn totals(&self) -> Totals {
        let splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = Totals {
            splits: splits.len(),
            ..Totals::default()
        };
        for split in splits.iter() {
            totals.rows_read += split.rows_read.load(Relaxed);
            totals.rows_written += split.rows_written.load(Relaxed);
            totals.rows_rejected += split.rows_rejected.load(Relaxed);
            totals.bytes_read += split.bytes_read.load(Relaxed);
            totals.progress += split.progress_millionths.load(Relaxed) as f64 / 1e6;
            totals.retries += split.retries.load(Relaxed);
        }
        totals.progress /= splits.len().max(1) as f64;
        totals
    }

    /// Rows read so far, split by split.
    pub fn rows_by_split(&self) -> Vec<u64> {
        let splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits
            .iter()
            .map(|split| split.rows_read.load(Relaxed))
            .collect()
    }
}
