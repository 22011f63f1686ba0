//! How long a commit waits before it tries again, and how often it does: as the table's own properties say.
//!
//! Knows no catalog. Properties: <https://iceberg.apache.org/docs/latest/configuration/#table-behavior-properties>

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

const RETRIES: &str = "commit.retry.num-retries";
const MIN_WAIT: &str = "commit.retry.min-wait-ms";
const MAX_WAIT: &str = "commit.retry.max-wait-ms";

/// Of tables that say nothing of it: many runs may commit to one table, each change of which makes the others try again.
const DEFAULT_RETRIES: u32 = 100;
const DEFAULT_MIN_WAIT: Duration = Duration::from_millis(50);
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(5);

/// The attempts of one commit.
pub struct Retry {
    left: u32,
    wait: Duration,
    max_wait: Duration,
}

impl Retry {
    pub fn new(properties: &HashMap<String, String>) -> Self {
        let number = |key| {
            properties
                .get(key)
                .and_then(|text| text.parse::<u32>().ok())
        };
        let span = |key| number(key).map(|ms| Duration::from_millis(ms.into()));
        Self {
            left: number(RETRIES).unwrap_or(DEFAULT_RETRIES),
            wait: span(MIN_WAIT).unwrap_or(DEFAULT_MIN_WAIT),
            max_wait: span(MAX_WAIT).unwrap_or(DEFAULT_MAX_WAIT),
        }
    }

    /// Waits for a random part of a time that doubles. False where there is no further attempt.
    pub async fn wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let part = f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX);
        tokio::time::sleep(self.wait.mul_f64(0.5 + part)).await;
        self.wait = (self.wait * 2).min(self.max_wait);
        true
    }
}

/// Of tables that we make: so that other writers do not give up either.
pub fn properties() -> HashMap<String, String> {
    let pairs = [
        (RETRIES, DEFAULT_RETRIES.to_string()),
        (MIN_WAIT, DEFAULT_MIN_WAIT.as_millis().to_string()),
        (MAX_WAIT, DEFAULT_MAX_WAIT.as_millis().to_string()),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
