//! SQL text: names quoted, values kept apart as parameters. Pure.

use std::fmt::Write;

/// A statement, or a part of one, whose values travel beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sql {
    pub text: String,
    /// `$1` and so on, in text form.
    pub parameters: Vec<Option<String>>,
}

impl Sql {
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
        }
    }

    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Where the next condition of a clause goes, all of which must hold.
    pub fn and(&mut self) -> &mut Self {
        self.text.push_str(match self.text.is_empty() {
            true => "\nWHERE ",
            false => "\n  AND ",
        });
        self
    }

    /// Appends `value` as a parameter of the type `kind`, which is as `format_type` prints it.
    pub fn push_value(&mut self, value: &str, kind: &str) {
        self.parameters.push(Some(value.to_owned()));
        let _ = write!(self.text, "${}::{kind}", self.parameters.len());
    }
}

/// `"x""y"`: a name that means itself, whatever it holds.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"a", "b"`
pub fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    quoted.join(", ")
}

/// SQL of the job's own as an operand: a comment at its end stays inside.
pub fn enclosed(text: &str) -> String {
    format!("(\n{}\n)", text.trim())
}

/// A query without what ends a statement.
pub fn trimmed(query: &str) -> &str {
    query
        .trim()
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_only_a_name() {
        for (name, quoted) in [
            ("orders", r#""orders""#),
            ("Odd.Name", r#""Odd.Name""#),
            (r#"x"; drop table t; --"#, r#""x""; drop table t; --""#),
            (r#"""#, r#""""""#),
            ("größe\n", "\"größe\n\""),
        ] {
            assert_eq!(quote(name), quoted);
        }
    }

    #[test]
    fn a_value_is_a_parameter_and_no_text() {
        let mut sql = Sql::new("id > ");
        sql.push_value("1) OR (true", "bigint");
        sql.push(" AND at > ");
        sql.push_value("now", "timestamp with time zone");
        assert_eq!(
            sql.text,
            "id > $1::bigint AND at > $2::timestamp with time zone"
        );
        assert_eq!(sql.parameters[0].as_deref(), Some("1) OR (true"));
    }

    #[test]
    fn what_ends_a_statement_is_cut_and_a_comment_stays_inside() {
        assert_eq!(trimmed(" SELECT 1 ;\n; "), "SELECT 1");
        assert_eq!(enclosed("a = 1 -- all"), "(\na = 1 -- all\n)");
    }

    #[test]
    fn conditions_must_all_hold() {
        let mut clause = Sql::default();
        clause.and().push("a");
        assert_eq!(clause.text, "\nWHERE a");
        clause.and().push("b");
        assert_eq!(clause.text, "\nWHERE a\n  AND b");
    }
}
