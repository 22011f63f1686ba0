//! A five-field cron line, checked and kept as text: a scheduler outside starts the runs.

/// When a job should run, as five valid cron fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(String);

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
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_whitespace().collect();
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
        Ok(Self(parts.join(" ")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
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
        match (Schedule::parse(text), expected) {
            (Ok(schedule), Ok(expected)) => assert_eq!(schedule.as_str(), expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }

    #[test]
    fn refuses_lines_that_are_no_cron() {
        check("", Err("not 0"));
        check("@daily", Err("not 1"));
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
}
