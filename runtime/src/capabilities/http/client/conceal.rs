//! Puts placeholders in place of secrets in answers, so that a component never sees a value.
//!
//! `Secrets::mask` is for users and says `${SECRET:NAME}`; this is for components, which can send a placeholder again.

use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::job::{Secrets, http_forms};

/// In place of what the host made: tokens that it asked for, and credentials that it encoded.
pub const CONCEALED: &str = "dativo-concealed";

/// What one component must not see.
#[derive(Default)]
pub struct Concealer(RwLock<Needles>);

#[derive(Default)]
struct Needles {
    /// What is hidden, and what stands in its place.
    forms: Vec<(String, String)>,
    /// None without forms.
    automaton: Option<Arc<AhoCorasick>>,
}

impl Concealer {
    pub fn new(secrets: &Secrets) -> Result<Self> {
        let concealer = Self::default();
        concealer.extend(secrets.http_forms())?;
        Ok(concealer)
    }

    /// Hides `value` too, which the host made.
    pub fn add(&self, value: &str) -> Result<()> {
        let is_known = {
            let needles = self.0.read().unwrap_or_else(PoisonError::into_inner);
            needles.forms.iter().any(|(form, _)| form == value)
        };
        if is_known {
            return Ok(());
        }
        let forms = http_forms(value).into_iter();
        self.extend(forms.map(|form| (form, CONCEALED.to_owned())).collect())
    }

    fn extend(&self, forms: Vec<(String, String)>) -> Result<()> {
        let mut needles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        needles.forms.extend(forms);
        if needles.forms.is_empty() {
            return Ok(());
        }
        let automaton = AhoCorasick::new(needles.forms.iter().map(|(form, _)| form));
        let automaton = automaton.map_err(|error| {
            Failure::new(
                ErrorKind::Internal,
                format!("the secrets cannot be looked for: {error}"),
            )
        })?;
        needles.automaton = Some(Arc::new(automaton));
        Ok(())
    }

    /// `bytes` with every value replaced; none where there is none to replace.
    pub fn find(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let needles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let automaton = needles.automaton.as_ref()?;
        automaton.is_match(bytes).then(|| {
            let mut result = Vec::with_capacity(bytes.len());
            let mut done = 0;
            for (start, end, form) in spans(automaton, bytes) {
                result.extend_from_slice(bytes.get(done..start).unwrap_or_default());
                let instead = needles
                    .forms
                    .get(form)
                    .map(|(_, instead)| instead.as_bytes());
                result.extend_from_slice(instead.unwrap_or_default());
                done = end;
            }
            result.extend_from_slice(bytes.get(done..).unwrap_or_default());
            result
        })
    }

    /// [`Self::find`] for a text, which stays one: values are whole characters.
    pub fn conceal(&self, text: &str) -> String {
        match self.find(text.as_bytes()) {
            Some(concealed) => String::from_utf8_lossy(&concealed).into_owned(),
            None => text.to_owned(),
        }
    }
}

/// Start, end and form of each stretch of values. Values that overlap are one stretch, with the form of the longest:
/// what one of them leaves over must not be seen either.
fn spans(automaton: &AhoCorasick, bytes: &[u8]) -> Vec<(usize, usize, usize)> {
    let mut found: Vec<(usize, usize, usize)> = automaton
        .find_overlapping_iter(bytes)
        .map(|found| (found.start(), found.end(), found.pattern().as_usize()))
        .collect();
    found.sort_by_key(|(start, end, _)| (*start, std::cmp::Reverse(*end)));
    let mut spans: Vec<(usize, usize, usize)> = Vec::new();
    let mut longest = 0;
    for (start, end, form) in found {
        match spans.last_mut() {
            Some(last) if start < last.1 => {
                last.1 = last.1.max(end);
                if end - start > longest {
                    longest = end - start;
                    last.2 = form;
                }
            }
            _ => {
                longest = end - start;
                spans.push((start, end, form));
            }
        }
    }
    spans
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
