//! Why rows were refused: the reason of one row in words, and the count of each rule over a run.

use std::collections::BTreeMap;

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

/// The counts of a split, or of a run.
#[derive(Default)]
pub struct Tallies(BTreeMap<(Subject, Reason), Counted>);

struct Counted {
    count: u64,
    /// The first value.
    example: Option<String>,
}

impl Tallies {
    pub fn count(&mut self, subject: Subject, reason: Reason, count: u64, example: Option<String>) {
        let key = (subject, reason);
        let (key, example) = match self.0.contains_key(&key) || self.0.len() < MAX_COUNTED - 3 {
            true => (key, example),
            // One place for each reason is kept free.
            false => ((Subject::Others, key.1), None),
        };
        self.0
            .entry(key)
            .or_insert(Counted { count: 0, example })
            .count += count;
    }

    /// Adds what another split counted.
    pub fn add(&mut self, other: Tallies) {
        for ((subject, reason), counted) in other.0 {
            self.count(subject, reason, counted.count, counted.example);
        }
    }

    /// The most frequent first.
    pub fn list(&self) -> Vec<Tally> {
        let mut list: Vec<Tally> = self
            .0
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
        let mut tallies = Tallies::default();
        for columns in [0..200, 100..300] {
            let mut split = Tallies::default();
            for column in columns {
                for reason in [Reason::Null, Reason::Type] {
                    split.count(Subject::Column(format!("c{column}")), reason, 1, None);
                }
            }
            tallies.add(split);
        }
        let list = tallies.list();
        assert!(list.len() <= MAX_COUNTED, "{}", list.len());
        assert_eq!(list.iter().map(|tally| tally.count).sum::<u64>(), 800);
        assert_eq!(list[0].subject, Subject::Others);
    }

    #[test]
    fn a_rule_keeps_its_first_example() {
        let mut tallies = Tallies::default();
        let column = || Subject::Column("a".to_owned());
        tallies.count(column(), Reason::Type, 1, Some("x".to_owned()));
        tallies.count(column(), Reason::Type, 2, Some("y".to_owned()));
        assert_eq!(
            tallies.list()[0].sentence(),
            "column `a`: 3 rows with a value of another type, such as `x`"
        );
    }
}
