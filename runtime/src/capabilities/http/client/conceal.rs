//! Puts placeholders in place of secrets in answers, so that a component never sees a value.
//!
//! `Secrets::mask` is for users and says `${SECRET:NAME}`; this is for components, which can send a placeholder again.

use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, Span};

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::{Secrets, Traces, traces};

/// In place of what the host made: tokens that it asked for, and credentials that it encoded.
pub const CONCEALED: &str = "dativo-concealed";

/// Most memory of the search, in bytes: some hundred secrets of usual length.
const MAX_REGEX_BYTES: usize = 256 << 20;

/// What one component must not see.
#[derive(Default)]
pub struct Concealer(RwLock<Hidden>);

#[derive(Default)]
struct Hidden {
    /// What is hidden, and what stands in its place.
    values: Vec<(Traces, String)>,
    /// None without values.
    search: Option<Arc<Search>>,
}

struct Search {
    /// Finds out fast that there is nothing; none where there is a value that it would not find.
    anchors: Option<AhoCorasick>,
    /// A pattern for each value.
    values: Regex,
}

impl Concealer {
    pub fn new(secrets: &Secrets) -> Result<Self> {
        let concealer = Self::default();
        concealer.extend(secrets.traces())?;
        Ok(concealer)
    }

    /// Hides `value` too, which the host made.
    pub fn add(&self, value: &str) -> Result<()> {
        let traces = traces(value);
        let is_known = {
            let hidden = self.0.read().unwrap_or_else(PoisonError::into_inner);
            hidden.values.iter().any(|(known, _)| *known == traces)
        };
        match is_known {
            true => Ok(()),
            false => self.extend(vec![(traces, CONCEALED.to_owned())]),
        }
    }

    fn extend(&self, values: Vec<(Traces, String)>) -> Result<()> {
        let mut hidden = self.0.write().unwrap_or_else(PoisonError::into_inner);
        hidden.values.extend(values);
        // Of two that begin at one place, the longer one is found.
        hidden
            .values
            .sort_by_key(|(traces, _)| std::cmp::Reverse(traces.pattern.len()));
        if !hidden.values.is_empty() {
            hidden.search = Some(Arc::new(Search::new(&hidden.values)?));
        }
        Ok(())
    }

    /// `bytes` with every value replaced; none where there is none to replace.
    pub fn find(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let hidden = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let spans = hidden.search.as_ref()?.spans(bytes);
        if spans.is_empty() {
            return None;
        }
        let mut result = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for (span, value) in spans {
            result.extend_from_slice(bytes.get(done..span.start).unwrap_or_default());
            let instead = hidden
                .values
                .get(value)
                .map(|(_, instead)| instead.as_bytes());
            result.extend_from_slice(instead.unwrap_or_default());
            done = span.end;
        }
        result.extend_from_slice(bytes.get(done..).unwrap_or_default());
        Some(result)
    }

    /// [`Self::find`] for a text, which stays one: values are whole characters.
    pub fn conceal(&self, text: &str) -> String {
        match self.find(text.as_bytes()) {
            Some(concealed) => String::from_utf8_lossy(&concealed).into_owned(),
            None => text.to_owned(),
        }
    }
}

impl Search {
    fn new(values: &[(Traces, String)]) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            let message = format!("the secrets cannot be looked for: {error}");
            Failure::new(ErrorKind::Internal, message)
        };
        let patterns: Vec<&str> = values
            .iter()
            .map(|(traces, _)| traces.pattern.as_str())
            .collect();
        let regex = Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(
                Regex::config()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(MAX_REGEX_BYTES)),
            )
            .build_many(&patterns)
            .map_err(|error| failed(&error))?;
        let has_anchor = values.iter().all(|(traces, _)| !traces.anchors.is_empty());
        let anchors = values.iter().flat_map(|(traces, _)| &traces.anchors);
        let anchors = has_anchor.then(|| AhoCorasick::new(anchors)).transpose();
        Ok(Self {
            anchors: anchors.map_err(|error| failed(&error))?,
            values: regex,
        })
    }

    /// Each stretch of values, and one of them. Values that overlap are one stretch, with the longest of them: what one
    /// leaves over must not be seen either.
    fn spans(&self, bytes: &[u8]) -> Vec<(Span, usize)> {
        if self
            .anchors
            .as_ref()
            .is_some_and(|anchors| !anchors.is_match(bytes))
        {
            return Vec::new();
        }
        let mut spans: Vec<(Span, usize)> = Vec::new();
        let mut longest = 0;
        let mut from = 0;
        while let Some(found) = self.values.find(Input::new(bytes).span(from..bytes.len())) {
            let (span, value) = (found.span(), found.pattern().as_usize());
            match spans.last_mut() {
                Some((last, of)) if span.start < last.end => {
                    last.end = last.end.max(span.end);
                    if span.len() > longest {
                        (longest, *of) = (span.len(), value);
                    }
                }
                _ => {
                    longest = span.len();
                    spans.push((span, value));
                }
            }
            from = span.start + 1;
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_writing_a_value_gets_through() {
        let (secrets, names) = Secrets::of(&[
            ("KEY", "p\"s<s/w ö+rd&x"),
            ("PART", "abcdefgh12"),
            ("OVER", "efgh123456"),
            ("LONG", "abcdefgh12-and-more"),
            ("SHORT", "data"),
        ]);
        let concealer = Concealer::new(&secrets).unwrap();
        let key = names[0].as_str();
        let check = |text: &str, expected: &str| {
            assert_eq!(concealer.conceal(text), expected, "{text}");
        };
        for form in [
            r#"p"s<s/w ö+rd&x"#,
            r#"p\"s<s/w ö+rd&x"#,
            r#"p\"s<s\/w ö+rd&x"#,
            r#"p\"s<s/w \u00f6+rd&x"#,
            r#"p\"s<s\/w \u00F6+rd&x"#,
            r#"p\"s\u003cs/w ö+rd\u0026x"#,
            r#"p\u0022s\u003Cs/w \u00F6\u002Brd\u0026x"#,
            "p%22s%3Cs%2Fw%20%C3%B6%2Brd%26x",
            "p%22s%3cs%2fw+%c3%b6%2brd%26x",
            "p%22s%3Cs/w%20%C3%B6+rd&x",
        ] {
            check(form, key);
            check(&format!("a{form}{form}b"), &format!("a{key}{key}b"));
        }
        check("data", "data");
        check("", "");
        check("abcdefgh1", "abcdefgh1");
        check("abcdefgh123456", &names[1]);
        check("abcdefgh12-and-more!", &format!("{}!", names[3]));
        assert_eq!(concealer.find(b"abcdefgh1"), None);
        assert_eq!(concealer.find(b"\xff efgh123456 \xfe").unwrap()[0], 0xff);
    }

    #[test]
    fn what_the_host_made_is_concealed_too() {
        let concealer = Concealer::default();
        assert_eq!(concealer.conceal("a token-1/2"), "a token-1/2");
        concealer.add("token-1/2").unwrap();
        concealer.add("token-1/2").unwrap();
        assert_eq!(concealer.conceal("a token-1/2"), "a dativo-concealed");
        assert_eq!(concealer.conceal("a token-1%2F2"), "a dativo-concealed");
    }
}
