//! The encryption context of a v1 file: whom it was sealed for, as sorted pairs of text with one encoding.

use std::collections::BTreeMap;

use super::{Result, SealError};

/// Most pairs that a context has.
pub const MAX_CONTEXT_PAIRS: usize = 16;
/// Longest encoding of a context, in bytes. It stands in the header, which a reader takes whole before it trusts it.
pub const MAX_CONTEXT_BYTES: usize = 4096;

/// Names and values, as a key service binds them to the data key. Readable in the file; do not put secrets there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context(BTreeMap<String, String>);

impl Context {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut context = BTreeMap::new();
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(SealError::Context("has a pair without a name"));
            }
            if context.insert(name, value).is_some() {
                return Err(SealError::Context("has a name twice"));
            }
        }
        let context = Self(context);
        if context.0.len() > MAX_CONTEXT_PAIRS {
            return Err(SealError::Context("has more than 16 pairs"));
        }
        if context.encoded_bytes() > MAX_CONTEXT_BYTES {
            return Err(SealError::Context("is longer than 4096 bytes"));
        }
        Ok(context)
    }

    /// What the files of a run are sealed for.
    pub fn of_run(tenant: &str, job: &str, run: &str) -> Result<Self> {
        let pairs = [("tenant", tenant), ("job", job), ("run", run)];
        Self::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    /// In the order of the names' bytes.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Refuses a file that was not sealed for each of `expected`.
    pub(super) fn check(&self, expected: &[(&str, &str)]) -> Result<()> {
        for (name, value) in expected {
            let found = self.0.get(*name);
            if found.map(String::as_str) != Some(*value) {
                return Err(SealError::OtherContext {
                    key: (*name).to_owned(),
                    expected: (*value).to_owned(),
                    found: found.cloned(),
                });
            }
        }
        Ok(())
    }

    fn encoded_bytes(&self) -> usize {
        let text = |(name, value): (&str, &str)| 4 + name.len() + value.len();
        1 + self.pairs().map(text).sum::<usize>()
    }

    /// The number of pairs in one byte, then each name and each value after its length in two.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // `new` bounds the number and, by the length of all, each length.
        out.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for text in self.pairs().flat_map(|(name, value)| [name, value]) {
            let bytes = u16::try_from(text.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&bytes.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Reads all of `encoded`, and refuses what [`Context::encode`] would not have written.
    pub(super) fn decode(encoded: &[u8]) -> Option<Self> {
        let (&count, mut rest) = encoded.split_first()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            pairs.push((name, value));
        }
        if !rest.is_empty() || !pairs.is_sorted() {
            return None;
        }
        Self::new(pairs).ok()
    }
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (bytes, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u16::from_be_bytes(*bytes).into())?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> Result<Context> {
        let pairs = pairs.iter();
        Context::new(pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn refuses_what_no_header_holds() {
        let long = "x".repeat(MAX_CONTEXT_BYTES - 5);
        assert!(context(&[("", "a")]).is_err());
        assert!(context(&[("a", "b"), ("a", "c")]).is_err());
        assert!(context(&[("aa", &long)]).is_err());
        assert!(context(&[("", &long)]).is_err());
        let names: Vec<String> = (0..=MAX_CONTEXT_PAIRS).map(|n| n.to_string()).collect();
        let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert!(context(&pairs).is_err());
        assert!(context(&pairs[1..]).is_ok());
        assert!(context(&[("a", &long[1..])]).is_ok());
    }

    #[test]
    fn refuses_an_encoding_that_it_would_not_write() {
        for (encoded, why) in [
            (&b""[..], "no number"),
            (b"\x00\x00", "more than it says"),
            (b"\x01\x00\x01a\x00\x01", "cut"),
            (b"\x01\x00\x00\x00\x01b", "no name"),
            (b"\x01\x00\x01\xff\x00\x01b", "not UTF-8"),
            (b"\x02\x00\x01b\x00\x00\x00\x01a\x00\x00", "not sorted"),
            (b"\x02\x00\x01a\x00\x00\x00\x01a\x00\x00", "a name twice"),
            (b"\x02\x00\x01a\x00\x00\x00\x01a\x00\x01b", "a name twice"),
        ] {
            assert_eq!(Context::decode(encoded), None, "{why}");
        }
    }

    #[test]
    fn has_one_encoding_whatever_the_order() {
        let mut encoded = Vec::new();
        let run = Context::of_run("acme", "täglich", "").unwrap();
        run.encode(&mut encoded);
        assert_eq!(
            encoded,
            b"\x03\0\x03job\0\x08t\xc3\xa4glich\0\x03run\0\0\0\x06tenant\0\x04acme"
        );
        assert_eq!(encoded.len(), run.encoded_bytes());
        assert_eq!(Context::decode(&encoded), Some(run));
    }

    #[test]
    fn tells_whom_a_file_is_for() {
        let run = Context::of_run("acme", "orders", "7f3a").unwrap();
        assert_eq!(run.check(&[]), Ok(()));
        assert_eq!(run.check(&[("tenant", "acme"), ("run", "7f3a")]), Ok(()));
        let text = |expected| run.check(&[expected]).unwrap_err().to_string();
        let other = "the file was sealed for tenant `acme`, not `evil`";
        assert_eq!(text(("tenant", "evil")), other);
        let none = "the file was sealed without a region, not for `eu`";
        assert_eq!(text(("region", "eu")), none);
    }
}
