//! What time schedules go by: the machine's, or one that tests let run faster.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

#[derive(Debug, Clone, Copy)]
pub struct Clock(Option<Fast>);

#[derive(Debug, Clone, Copy)]
struct Fast {
    start: DateTime<Utc>,
    begun: Instant,
    speed: u32,
}

impl Clock {
    pub fn real() -> Self {
        Self(None)
    }

    /// Shows `start` now, and then `speed` seconds for each that passes.
    pub fn fast(start: DateTime<Utc>, speed: u32) -> Self {
        let begun = Instant::now();
        Self(Some(Fast {
            start,
            begun,
            speed: speed.max(1),
        }))
    }

    pub fn now(&self) -> DateTime<Utc> {
        match self.0 {
            None => Utc::now(),
            Some(fast) => {
                let passed = TimeDelta::from_std(fast.begun.elapsed() * fast.speed);
                fast.start + passed.unwrap_or_default()
            }
        }
    }

    pub fn speed(&self) -> u32 {
        self.0.map_or(1, |fast| fast.speed)
    }
}
