//! Why rows were refused: the reason of one row in words, and the count of each rule over a run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Most rules that are counted each on their own; a contract can have thousands of columns.
const MAX_COUNTED: usize = 100;

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Column(String),
    /// The columns of `dataset.unique`.
    Key(Vec<String>),
    /// All rules beyond those that are counted each on their own.
    Others,
}

/// The rule that a row breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Null in a required column.
    Null,
    /// A value that is none of the column's type.
    Type,
    /// A key that was there before.
    Duplicate,
}

/// How often one rule was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    #[serde(flatten)]
    pub subject: Subject,
    pub reason: Reason,
    pub count: u64,
    /// A value that broke it; none for null, and where the column is masked.
    pub example: Option<String>,
}

/// The counts of a run, shared by its splits.
#[derive(Default)]
pub struct Tallies(Mutex<BTreeMap<(Subject, Reason), Counted>>);

struct Counted {
    count: u64,
    /// The first value.
    example: Option<String>,
}

impl Tallies {
    pub fn add(&self, subject: Subject, reason: Reason, count: u64, example: Option<String>) {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (subject, reason);
        let (key, example) = match tallies.contains_key(&key) || tallies.len() < MAX_COUNTED - 3 {
            true => (key, example),
            // One place for each reason is kept free.
            false => ((Subject::Others, key.1), None),
        };
        tallies
            .entry(key)
            .or_insert(Counted { count: 0, example })
            .count += count;
    }

    /// The most frequent first.
    pub fn list(&self) -> Vec<Tally> {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Tally> = tallies
            .iter()
            .map(|((subject, reason), counted)| Tally {
                subject: subject.clone(),
                reason: *reason,
                count: counted.count,
                example: counted.example.clone(),
            })
            .collect();
        list.sort_by_key(|tally| std::cmp::Reverse(tally.count));
        list
    }
}

impl Tally {
    /// For people: `column `amount`: 3 rows with a value of another type, such as `abc``.
    pub fn sentence(&self) -> String {
        let subject = match &self.subject {
            Subject::Column(name) => format!("column `{name}`"),
            Subject::Key(names) => format!("key `{}`", names.join("`, `")),
            Subject::Others => "other columns".to_owned(),
        };
        let rows = if self.count == 1 { "row" } else { "rows" };
        let reason = match self.reason {
            Reason::Null => "null",
            Reason::Type => "a value of another type",
            Reason::Duplicate => "a value that is there already",
        };
        let example = self.example.as_ref();
        let example = example.map_or(String::new(), |value| format!(", such as `{value}`"));
        format!("{subject}: {} {rows} with {reason}{example}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_beyond_the_bound_are_counted_together() {
        let tallies = Tallies::default();
        for column in 0..300 {
            for reason in [Reason::Null, Reason::Type] {
                tallies.add(Subject::Column(format!("c{column}")), reason, 1, None);
            }
        }
        let list = tallies.list();
        assert!(list.len() <= MAX_COUNTED, "{}", list.len());
        assert_eq!(list.iter().map(|tally| tally.count).sum::<u64>(), 600);
        assert_eq!(list[0].subject, Subject::Others);
    }

    #[test]
    fn a_rule_keeps_its_first_example() {
        let tallies = Tallies::default();
        let column = || Subject::Column("a".to_owned());
        tallies.add(column(), Reason::Type, 1, Some("x".to_owned()));
        tallies.add(column(), Reason::Type, 2, Some("y".to_owned()));
        assert_eq!(
            tallies.list()[0].sentence(),
            "column `a`: 3 rows with a value of another type, such as `x`"
        );
    }
}
