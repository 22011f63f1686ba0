//! Whether and when a request is sent again.
//!
//! Pure: what came back, the clock and a random number in; a time to wait out.

use std::time::{Duration, UNIX_EPOCH};

/// Before the first retry at most; twice as long before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The longest `Retry-After` that is believed.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a request may reach a server twice. RFC 9110, section 9.2.2.
pub fn may_repeat(method: &str, is_repeatable: bool) -> bool {
    is_repeatable || ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].contains(&method)
}

/// Whether a status says that the same request may succeed later.
pub fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a status with `Retry-After` speaks for the whole server.
pub fn holds_back_all(status: u16) -> bool {
    matches!(status, 429 | 503)
}

/// What `Retry-After` asks for, in seconds or as a date; `now` is counted from 1970. None where it says nothing that
/// can be used.
pub fn asked(value: &str, now: Duration) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // Some servers send a fraction.
        Err(_) => match value.parse::<f64>() {
            Ok(seconds) if seconds > LONGEST_ASKED.as_secs_f64() => LONGEST_ASKED,
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
            Err(_) => {
                let date = httpdate::parse_http_date(value).ok()?;
                date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now)
            }
        },
    };
    (!wait.is_zero()).then(|| wait.min(LONGEST_ASKED))
}

/// The wait before retry number `retry`, from 0: exponential, with full jitter. `random` is from 0 to 1.
pub fn backoff(retry: u32, random: f64) -> Duration {
    let most = FIRST_WAIT
        .saturating_mul(1 << retry.min(16))
        .min(LONGEST_BACKOFF);
    most.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_idempotent_or_said_to_be_goes_twice() {
        for method in ["POST", "PATCH", "CONNECT", "get", ""] {
            assert!(!may_repeat(method, false), "{method}");
            assert!(may_repeat(method, true), "{method}");
        }
        assert!(may_repeat("GET", false) && may_repeat("DELETE", false));
        for status in [200, 301, 400, 401, 403, 404, 501, 505] {
            assert!(!is_temporary(status), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_temporary(status), "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // 1994-11-06T08:49:37Z.
        let now = Duration::from_secs(784_111_777);
        let check = |value: &str, expected: Option<u64>| {
            assert_eq!(
                asked(value, now),
                expected.map(Duration::from_secs),
                "{value}"
            );
        };
        check("120", Some(120));
        check(" 120 ", Some(120));
        check("1.0", Some(1));
        check("0", None);
        check("-1", None);
        check("NaN", None);
        check("soon", None);
        check("99999999999999999999", Some(24 * 60 * 60));
        check("18446744073709551615", Some(24 * 60 * 60));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:49:00 GMT", None);
        check("Sat, 06 Nov 2094 08:49:37 GMT", Some(24 * 60 * 60));
    }

    #[test]
    fn backoff_doubles_up_to_a_limit() {
        let seconds = [0, 1, 2, 6, 40].map(|retry| backoff(retry, 1.0).as_secs_f64());
        assert_eq!(seconds, [0.5, 1.0, 2.0, 30.0, 30.0]);
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
        assert_eq!(backoff(0, 0.5), Duration::from_millis(250));
    }
}
