//! How many requests a second: the generic cell rate algorithm.
//!
//! Pure: times are counted from any fixed moment.

use std::time::Duration;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Between two requests in the long run.
    interval: Duration,
    /// Requests that may follow each other at once.
    burst: u32,
}

/// When the next request is due.
#[derive(Debug, Default)]
pub struct Gcra {
    /// The time at which all that was let through is paid for.
    due: Duration,
}

/// Rates beyond these are mistakes: one request a month, a million a second.
const SLOWEST: f64 = 1.0 / (31.0 * 24.0 * 60.0 * 60.0);
const FASTEST: f64 = 1e6;

impl Rate {
    /// None where the numbers are no rate.
    pub fn new(per_second: f64, burst: u32) -> Option<Self> {
        ((SLOWEST..=FASTEST).contains(&per_second) && burst > 0).then(|| Self {
            interval: Duration::from_secs_f64(1.0 / per_second),
            burst,
        })
    }

    /// The one of two that asks for less.
    pub fn lower(self, other: Self) -> Self {
        Self {
            interval: self.interval.max(other.interval),
            burst: self.burst.min(other.burst),
        }
    }
}

impl Gcra {
    /// The time at which the next request may go.
    pub fn next(&self, now: Duration, rate: Rate) -> Duration {
        let tolerance = rate.interval.saturating_mul(rate.burst - 1);
        now.max(self.due.saturating_sub(tolerance))
    }

    /// Takes that turn. Who asks first goes first.
    pub fn take(&mut self, now: Duration, rate: Rate) -> Duration {
        let turn = self.next(now, rate);
        self.due = self.due.max(now).saturating_add(rate.interval);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_rate() {
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9] {
            assert_eq!(Rate::new(per_second, 1), None, "{per_second}");
        }
        assert_eq!(Rate::new(1.0, 0), None);
    }

    #[test]
    fn lets_a_burst_through_and_then_one_at_a_time() {
        let rate = Rate::new(2.0, 3).unwrap();
        let mut gate = Gcra::default();
        let mut turns = |now: u64, count: usize| -> Vec<u128> {
            let now = Duration::from_millis(now);
            (0..count)
                .map(|_| gate.take(now, rate).as_millis())
                .collect()
        };
        assert_eq!(turns(10_000, 5), [10_000, 10_000, 10_000, 10_500, 11_000]);
        assert_eq!(turns(10_100, 1), [11_500]);
        // A pause earns a burst again, and no more than one.
        assert_eq!(turns(60_000, 4), [60_000, 60_000, 60_000, 60_500]);
    }

    #[test]
    fn the_lower_of_two_rates_holds() {
        let (slow, fast) = (Rate::new(1.0, 9).unwrap(), Rate::new(5.0, 2).unwrap());
        assert_eq!(slow.lower(fast), Rate::new(1.0, 2).unwrap());
        assert_eq!(fast.lower(slow), slow.lower(fast));
    }
}
