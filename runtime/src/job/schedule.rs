//! When a job runs: a cron line, a shorthand or an interval, and what happens around it. Pure: the clock is asked elsewhere.
//!
//! Across changes of daylight-saving time a job at a fixed time runs once a day: at the first moment after a gap, and at the first of
//! two equal times. Lines with `*`, lists, ranges or steps in minute or hour run at each time that the clock shows.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use schemars::JsonSchema;
use serde::Deserialize;

/// Shorter intervals would be a loop, not a schedule.
const MIN_EVERY: Duration = Duration::from_secs(1);

/// When a job should run.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    rule: Rule,
    timezone: Tz,
}

#[derive(Clone)]
enum Rule {
    Cron(Box<Cron>),
    /// Whole multiples since 1970-01-01T00:00:00Z, so that a restart changes nothing.
    Every(TimeDelta),
}

/// When runs of a job begin, and what happens around that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub schedule: Schedule,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    /// Each run begins up to this much later.
    pub jitter: Duration,
    /// How often a run that failed for a reason that may pass is tried again.
    pub retries: u32,
}

/// What happens when a run is due and the one before has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    // It is left out.
    #[default]
    Skip,
    // It begins when the other has ended; more than one that wait are one.
    Queue,
    // The other is stopped.
    Cancel,
}

/// What happens to runs that were due while nobody was there to start them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    // One run for all of them.
    #[default]
    One,
    // They are left out.
    None,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Three-letter names for `min`, `min + 1` …
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    Field {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
    },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    // Both 0 and 7 are Sunday.
    Field {
        name: "day of week",
        min: 0,
        max: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl Schedule {
    /// The error completes a sentence that starts with the key.
    pub fn parse(text: &str, timezone: Tz) -> Result<Self, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let rule = match text.strip_prefix("every ") {
            Some(span) => Rule::Every(every(span)?),
            None => Rule::Cron(Box::new(cron(&text)?)),
        };
        Ok(Self {
            text,
            rule,
            timezone,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The first time after `after`; none where there is none in the next years.
    pub fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.rule {
            Rule::Cron(cron) => {
                let after = after.with_timezone(&self.timezone);
                let next = cron.find_next_occurrence(&after, false).ok()?;
                Some(next.with_timezone(&Utc))
            }
            Rule::Every(span) => {
                let span = span.num_milliseconds();
                let next = (after.timestamp_millis().div_euclid(span) + 1) * span;
                DateTime::from_timestamp_millis(next)
            }
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.timezone)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.timezone) == (&other.text, other.timezone)
    }
}

impl Eq for Schedule {}

fn every(span: &str) -> Result<TimeDelta, String> {
    let must = "must be `every` and a time of at least a second, such as `every 15m`";
    let span = humantime::parse_duration(span).map_err(|_| must.to_owned())?;
    match TimeDelta::from_std(span) {
        Ok(delta) if span >= MIN_EVERY => Ok(delta),
        _ => Err(must.to_owned()),
    }
}

fn cron(text: &str) -> Result<Cron, String> {
    let line = match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other if other.starts_with('@') => {
            return Err(format!(
                "is `{text}`, and the words are `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`"
            ));
        }
        _ => text,
    };
    let parts: Vec<&str> = line.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!(
            "must have five cron fields (minute, hour, day of month, month, day of week), not {}",
            parts.len()
        ));
    }
    for (field, part) in FIELDS.iter().zip(&parts) {
        if !part.split(',').all(|item| field.accepts(item)) {
            return Err(format!(
                "has `{part}` as its {}, which must be `*`, a number from {} to {}, a range or a list",
                field.name, field.min, field.max
            ));
        }
    }
    let cron: Cron = line
        .parse()
        .map_err(|error| format!("is no cron line: {error}"))?;
    let epoch = DateTime::<Utc>::UNIX_EPOCH;
    match cron.find_next_occurrence(&epoch, false) {
        Ok(_) => Ok(cron),
        Err(_) => Err("names a day that never comes".to_owned()),
    }
}

impl Field {
    fn accepts(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_fits =
            step.is_none_or(|step| number(step).is_some_and(|n| n >= 1 && n <= self.max));
        let range_fits = match range.split_once('-') {
            _ if range == "*" => true,
            Some((from, to)) => match (self.value(from), self.value(to)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            },
            None => self.value(range).is_some(),
        };
        step_fits && range_fits
    }

    fn value(&self, text: &str) -> Option<u32> {
        let by_name = self
            .names
            .iter()
            .zip(self.min..)
            .find(|(name, _)| text.eq_ignore_ascii_case(name));
        by_name
            .map(|(_, n)| n)
            .or_else(|| number(text))
            .filter(|n| (self.min..=self.max).contains(n))
    }
}

/// Digits only: `parse` alone would take `+5`.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (Schedule::parse(text, Tz::UTC), expected) {
            (Ok(schedule), Ok(expected)) => assert_eq!(schedule.as_str(), expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    #[test]
    fn refuses_lines_that_are_no_cron() {
        check("", Err("not 0"));
        check("@never", Err("`@hourly`"));
        check("every", Err("not 1"));
        check("every day", Err("`every 15m`"));
        check("every 500ms", Err("at least a second"));
        check("0 0 30 2 *", Err("never comes"));
        check("0 2 * * * *", Err("not 6"));
        check("60 2 * * *", Err("`60` as its minute"));
        check("0 24 * * *", Err("hour"));
        check("0 2 0 * *", Err("day of month"));
        check("0 2 * 13 *", Err("month"));
        check("0 2 * * 8", Err("day of week"));
        check("0 2 * * tues", Err("day of week"));
        check("*/0 * * * *", Err("minute"));
        check("*/ * * * *", Err("minute"));
        check("5-1 * * * *", Err("minute"));
        check("1,,2 * * * *", Err("minute"));
        check("+5 * * * *", Err("minute"));
        check("-5 * * * *", Err("minute"));
        check("99999999999 * * * *", Err("minute"));
    }

    #[test]
    fn takes_what_cron_takes() {
        check("0 2 * * *", Ok("0 2 * * *"));
        check(
            "  */15 0-6/2,8  1,15 jan-MAR mon-fri ",
            Ok("*/15 0-6/2,8 1,15 jan-MAR mon-fri"),
        );
        check("0 0 * * 7", Ok("0 0 * * 7"));
    }

    fn times(text: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(text, timezone.parse().unwrap()).unwrap();
        let mut at: DateTime<Utc> = after.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..count {
            at = schedule.next(at).unwrap();
            times.push(at.format("%m-%dT%H:%M").to_string());
        }
        times
    }

    #[test]
    fn a_time_of_day_comes_once_a_day_whatever_the_clocks_do() {
        let daily = |text, after| times(text, "Europe/Berlin", after, 3);
        // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        assert_eq!(
            daily("30 2 * * *", "2026-03-28T00:00:00Z"),
            ["03-28T01:30", "03-29T01:00", "03-30T00:30"]
        );
        assert_eq!(
            daily("30 2 * * *", "2026-10-24T00:00:00Z"),
            ["10-24T00:30", "10-25T00:30", "10-26T01:30"]
        );
        assert_eq!(
            daily("0 12 * * *", "2026-10-24T00:00:00Z"),
            ["10-24T10:00", "10-25T11:00", "10-26T11:00"]
        );
    }

    #[test]
    fn intervals_go_on_through_changes_of_the_clock() {
        let half = "*/30 * * * *";
        assert_eq!(
            times(half, "Europe/Berlin", "2026-10-25T00:00:00Z", 5),
            [
                "10-25T00:30",
                "10-25T01:00",
                "10-25T01:30",
                "10-25T02:00",
                "10-25T02:30"
            ]
        );
        assert_eq!(
            times(half, "America/New_York", "2026-03-08T06:00:00Z", 4),
            ["03-08T06:30", "03-08T07:00", "03-08T07:30", "03-08T08:00"]
        );
        assert_eq!(
            times("every 90m", "Europe/Berlin", "2026-10-25T00:00:00Z", 2),
            ["10-25T01:30", "10-25T03:00"]
        );
        assert_eq!(
            times("@hourly", "UTC", "2026-01-01T00:00:00Z", 1),
            ["01-01T01:00"]
        );
    }

    #[test]
    fn years_of_each_schedule_neither_stand_still_nor_repeat() {
        for text in [
            "30 2 * * *",
            "*/7 * * * *",
            "0 0 29 2 *",
            "15 1,2,3 * * sun",
            "every 7h",
        ] {
            for timezone in [
                "Europe/Berlin",
                "Australia/Lord_Howe",
                "America/Sao_Paulo",
                "Asia/Kathmandu",
            ] {
                let schedule = Schedule::parse(text, timezone.parse().unwrap()).unwrap();
                let mut at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
                for _ in 0..2_000 {
                    let Some(next) = schedule.next(at) else { break };
                    assert!(next > at, "{text} in {timezone} after {at}: {next}");
                    at = next;
                }
            }
        }
    }
}
