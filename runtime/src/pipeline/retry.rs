//! Whether and when a split is read again whose source was lost.
//!
//! Pure: an error and a random number in, a time to wait out.

use std::time::Duration;

use crate::contract::MAX_ATTEMPTS;
use crate::error::{Error, Kind};

/// Times that one split is read again. Whoever schedules the job tries again later than that.
pub const MAX_RETRIES: u32 = 3;

const _: () = assert!(MAX_RETRIES < MAX_ATTEMPTS);

/// Before the first retry; twice as long before each further one. A connection that was cut is there again at once,
/// a server that starts again takes seconds.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait that the other side may ask for. Meanwhile the planner holds its snapshot at the source, and the
/// other splits are done or wait too: beyond this, the run ends and says when to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long to wait before a split is read again that failed with `error` and was read again `retries` times; none
/// where that is the end. `random` is from 0 to 1: splits that are lost together do not all come back at once.
pub fn wait(error: &Error, retries: u32, random: f64) -> Option<Duration> {
    if error.kind() != Kind::Unavailable || retries >= MAX_RETRIES {
        return None;
    }
    match error.retry_after() {
        // The earliest useful time, so it is only ever exceeded.
        Some(asked) => (asked <= LONGEST_WAIT).then(|| asked.mul_f64(1.0 + random / 4.0)),
        None => Some((FIRST_WAIT * (1 << retries)).mul_f64(0.5 + random / 2.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, retries: u32, expected_seconds: Option<(f64, f64)>) {
        let waits = [0.0, 1.0].map(|random| wait(&error, retries, random));
        let seconds = waits.map(|wait| wait.map(|wait| wait.as_secs_f64()));
        let expected =
            expected_seconds.map_or([None; 2], |(least, most)| [Some(least), Some(most)]);
        assert_eq!(seconds, expected, "{error} after {retries} retries");
    }

    fn lost() -> Error {
        Error::new(Kind::Unavailable, "the connection was lost")
    }

    #[test]
    fn no_other_error_is_tried_again() {
        for kind in Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Unavailable)
        {
            check(Error::new(kind, "no").after(FIRST_WAIT), 0, None);
        }
    }

    #[test]
    fn waits_longer_each_time_and_gives_up_after_the_last() {
        check(lost(), 0, Some((0.5, 1.0)));
        check(lost(), 1, Some((1.0, 2.0)));
        check(lost(), 2, Some((2.0, 4.0)));
        check(lost(), MAX_RETRIES, None);
    }

    #[test]
    fn waits_as_long_as_the_other_side_asks_for_up_to_a_bound() {
        check(lost().after(Duration::from_secs(20)), 2, Some((20.0, 25.0)));
        check(lost().after(LONGEST_WAIT), 0, Some((300.0, 375.0)));
        check(
            lost().after(LONGEST_WAIT + Duration::from_millis(1)),
            0,
            None,
        );
        check(lost().after(Duration::from_millis(u64::MAX)), 0, None);
    }
}
