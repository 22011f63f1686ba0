//! The text that names a staged object of S3: a multipart upload and its parts.
//!
//! A token comes back through guests, so nothing in it is believed: the root must be one that the job grants for
//! writing, the name below it must be covered, and S3 itself knows an upload only together with its key.

use serde::{Deserialize, Serialize};

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::capabilities::object_store::backends::{check_run, is_id};
use crate::capabilities::object_store::grant::{Access, Grant, Place};

/// What tells the tokens of this backend from those of others.
pub const STORE: &str = "s3";

/// Longest token, in bytes: 10,000 parts, a key, and some fields.
const MAX_TOKEN_BYTES: usize = 2 << 20;

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    version: u32,
    store: String,
    /// The granted folder: `s3://bucket/prefix`.
    root: String,
    /// Of the object, below the root.
    name: String,
    pub run: String,
    pub id: String,
    /// The multipart upload. None where a crash came before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// Whether an answer to its creation was lost, so that there may be more uploads of this key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_repeated: bool,
    /// Of a complete object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    pub bytes: u64,
    pub sha256: String,
    /// In order of their numbers, which begin at 1.
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub etag: String,
    /// CRC32C in base64, as S3 has it; none where the store answers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
}

impl Token {
    /// Of an upload that is not created yet.
    pub fn begun(place: &Place, run: &str, id: &str) -> Self {
        Self {
            version: VERSION,
            store: STORE.to_owned(),
            root: place.root_url(),
            name: place.below_root().join("/"),
            run: run.to_owned(),
            id: id.to_owned(),
            upload: None,
            is_repeated: false,
            content: None,
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |what: &str| {
            Failure::new(
                ErrorKind::Rejected,
                format!("not a token of a staged object: {what}"),
            )
        };
        if text.len() > MAX_TOKEN_BYTES {
            return Err(refuse("it is too long"));
        }
        let token: Token =
            serde_json::from_str(text).map_err(|error| refuse(&error.to_string()))?;
        if token.version != VERSION || token.store != STORE {
            return Err(refuse(&format!("it is of version {}", token.version)));
        }
        check_run(&token.run)?;
        if !is_id(&token.id) {
            return Err(refuse("its id is malformed"));
        }
        Ok(token)
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The object that it names, if the job grants it for writing.
    pub fn place(&self, grant: &Grant) -> Result<Place> {
        let root = grant.root(Access::Write, &self.root)?;
        let segments: Vec<String> = self.name.split('/').map(str::to_owned).collect();
        let named = grant.object(Access::Write, &format!("{}/{}", self.root, self.name))?;
        match root.below(grant, Access::Write, &segments) {
            Some(place) if place.url() == named.url() => Ok(place),
            _ => Err(Failure::new(
                ErrorKind::Denied,
                format!("`{}` is outside the grant", named.written()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn grant() -> Grant {
        Grant::parse(&["write s3://lake/out/**".to_owned()], Path::new("/")).unwrap()
    }

    fn token() -> Token {
        let place = grant().object(Access::Write, "s3://lake/out/y=1/a");
        Token::begun(
            &place.unwrap(),
            "run",
            "0199c0de-0000-7000-8000-000000000000",
        )
    }

    #[test]
    fn a_token_says_where_and_only_within_the_grant() {
        let read = Token::parse(&token().text()).unwrap();
        assert_eq!(read, token());
        assert_eq!(read.place(&grant()).unwrap().url(), "s3://lake/out/y=1/a");
        for (root, name) in [
            ("s3://lake", "out/y=1/a"),
            ("s3://other/out", "a"),
            ("s3://lake/out", "../a"),
            ("s3://lake/out", "b/../../a"),
            ("s3://lake/out", ""),
            ("s3://lake/out", "a//b"),
            ("s3://lake/out", ".dativo-staged/run/x"),
            ("/lake/out", "a"),
        ] {
            let forged = Token {
                root: root.to_owned(),
                name: name.to_owned(),
                ..token()
            };
            assert!(forged.place(&grant()).is_err(), "{root} {name}");
        }
    }

    #[test]
    fn refuses_what_is_no_token() {
        let whole = token().text();
        for text in [
            "",
            "{}",
            &whole.replace(":1,", ":2,"),
            &whole.replace("\"run\":\"run\"", "\"run\":\"../x\""),
            &whole.replace("0199c0de", "0199C0DE"),
            &whole.replace("\"run\"", "\"ran\""),
        ] {
            assert!(Token::parse(text).is_err(), "{text}");
        }
    }
}
