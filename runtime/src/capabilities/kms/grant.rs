//! Grants for master keys: under which of them a guest may have files sealed.
//!
//! Pure: no network, no wasmtime. A rule is `generate KEY-ID`, and covers the key under exactly this name: an alias and the
//! ARN behind it are two names, of which the job grants one.

use crate::capabilities::failure::{ErrorKind, Failure};
use crate::error::{Error, Kind};

/// What the names of key files begin with.
const FILE: &str = "file:";

/// Longest name of a key, in bytes, as AWS KMS has it.
const MAX_NAME_BYTES: usize = 2048;

/// What a job grants. Without rules it covers nothing.
#[derive(Debug, Clone, Default)]
pub struct Grant(Vec<KeyId>);

/// The name of a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyId {
    /// Of a key service: an id, an ARN or an alias.
    Service(String),
    /// The path of a key file.
    File(String),
}

/// Why a key is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The job grants no key.
    Empty,
    Key,
}

impl Grant {
    pub fn parse<'a>(rules: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        rules.map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// The key that a guest named, where this grant covers it.
    pub fn allows(&self, key_id: &str) -> Result<&KeyId, Denied> {
        let named = self.0.iter().find(|key| key.name() == key_id);
        named.ok_or(match self.0.is_empty() {
            true => Denied::Empty,
            false => Denied::Key,
        })
    }
}

fn rule(line: &str) -> Result<KeyId, Error> {
    let refuse = |why: &str| {
        Error::new(Kind::JobInvalid, format!("a grant of `kms` {why}"))
            .hint("write a grant like `generate arn:aws:kms:eu-central-1:111122223333:key/…`")
    };
    let Some(name) = line.strip_prefix("generate ") else {
        return Err(refuse("does not begin with `generate`"));
    };
    KeyId::parse(name.trim()).map_err(|why| refuse(&format!("names a key that {why}")))
}

impl KeyId {
    /// Reads a name; what is wrong with it goes on with "a key that".
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err("has no name, or a longer one than 2048 bytes");
        }
        if let Some(path) = name.strip_prefix(FILE) {
            if path.is_empty() || path.ends_with('/') || path.chars().any(char::is_control) {
                return Err("is no file");
            }
            return Ok(Self::File(path.to_owned()));
        }
        if name.contains('*') {
            return Err("stands for several: keys are granted one by one");
        }
        let fits = match name.strip_prefix("arn:") {
            Some(arn) => is_arn(arn),
            None => is_alias(name) || is_id(name),
        };
        match fits {
            true => Ok(Self::Service(name.to_owned())),
            false => Err("is neither an id, an ARN, `alias/NAME` nor `file:PATH`"),
        }
    }

    /// As the job wrote it.
    pub fn name(&self) -> String {
        match self {
            Self::Service(name) => name.clone(),
            Self::File(path) => format!("{FILE}{path}"),
        }
    }
}

/// What follows `arn:`, such as `aws:kms:eu-central-1:111122223333:alias/lake`.
fn is_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(5, ':').collect();
    let [partition, "kms", region, account, key] = parts.as_slice() else {
        return false;
    };
    let is_word = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !text.is_empty() && text.bytes().all(fits)
    };
    is_word(partition)
        && is_word(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (is_alias(key) || key.strip_prefix("key/").is_some_and(is_id))
}

fn is_alias(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    name.strip_prefix("alias/")
        .is_some_and(|alias| !alias.is_empty() && alias.bytes().all(fits))
}

/// AWS has UUIDs, with `mrk-` before those of several regions; services like it have names of their own.
fn is_id(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

impl Denied {
    /// What the guest is told.
    pub fn failure(self, key_id: &str) -> Failure {
        let why = match self {
            Self::Empty => "the job grants no key",
            Self::Key => "no rule names this key",
        };
        let shown: String = key_id.chars().take(MAX_NAME_BYTES).collect();
        let shown = shown.escape_debug();
        Failure::new(
            ErrorKind::Denied,
            format!("key `{shown}` is outside the grant: {why}"),
        )
        .hint(format!("add `grants: {{ kms: [\"generate {shown}\"] }}`"))
    }
}

/// A rule as a plan prints it.
pub fn shown(line: &str) -> String {
    match rule(line) {
        Ok(KeyId::File(_)) => {
            format!("{line} (a key file: for development, not for data that matters)")
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str =
        "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn check(rule: &str, asked: &str, expected: Result<(), Denied>) {
        let rules = Some(rule).into_iter().filter(|rule| !rule.is_empty());
        let grant = Grant::parse(rules).unwrap();
        assert_eq!(
            grant.allows(asked).map(|_| ()),
            expected,
            "{rule} / {asked}"
        );
    }

    #[test]
    fn denies_a_key_that_no_rule_names() {
        check("", "alias/lake", Err(Denied::Empty));
        check("generate alias/lake", "", Err(Denied::Key));
        check("generate alias/lake", "alias/lakes", Err(Denied::Key));
        check("generate alias/lake", "alias/Lake", Err(Denied::Key));
        check("generate alias/lake", " alias/lake", Err(Denied::Key));
        check("generate alias/lake", ARN, Err(Denied::Key));
        check("generate alias/lake", "file:alias/lake", Err(Denied::Key));
        check("generate file:dev.key", "dev.key", Err(Denied::Key));
        check("generate file:dev.key", "file:./dev.key", Err(Denied::Key));
        check("generate file:dev.key", "file:/dev.key", Err(Denied::Key));
    }

    #[test]
    fn allows_the_key_that_a_rule_names() {
        for name in [
            ARN,
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/lake",
            "alias/teams/data_lake-2",
            "arn:aws-cn:kms:cn-north-1:111122223333:alias/lake",
            "file:dev.key",
            "file:/etc/dativo/dev key",
        ] {
            check(&format!("generate {name}"), name, Ok(()));
            check(&format!("generate  {name} "), name, Ok(()));
        }
    }

    #[test]
    fn refuses_rules_that_name_no_key_or_several() {
        let long = format!("generate {}", "k".repeat(MAX_NAME_BYTES + 1));
        for (rule, why) in [
            ("", "does not begin"),
            ("alias/lake", "does not begin"),
            ("decrypt alias/lake", "does not begin"),
            ("generate", "does not begin"),
            ("generate  ", "has no name"),
            (&long, "has no name"),
            ("generate *", "stands for several"),
            ("generate alias/*", "stands for several"),
            ("generate alias/", "is neither"),
            ("generate alias/a b", "is neither"),
            ("generate a/b", "is neither"),
            ("generate http://h/key", "is neither"),
            ("generate arn:aws:s3:::bucket", "is neither"),
            ("generate arn:aws:kms:eu-central-1:1234:key/a", "is neither"),
            ("generate arn:aws:kms::111122223333:key/a", "is neither"),
            ("generate arn:aws:kms:eu-1:111122223333:key/", "is neither"),
            (
                "generate arn:aws:kms:eu-1:111122223333:key/a:b",
                "is neither",
            ),
            ("generate file:", "is no file"),
            ("generate file:/etc/", "is no file"),
            ("generate file:a\nb", "is no file"),
        ] {
            let error = Grant::parse([rule].into_iter()).unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        }
    }

    #[test]
    fn a_denial_says_what_to_add_and_a_plan_what_is_for_development() {
        let failure = Denied::Key.failure("alias/lake");
        assert_eq!(failure.kind, ErrorKind::Denied);
        assert_eq!(
            failure.hint.as_deref(),
            Some("add `grants: { kms: [\"generate alias/lake\"] }`")
        );
        assert!(!Denied::Key.failure("a\nb").message.contains('\n'));
        assert!(shown("generate file:dev.key").contains("for development"));
        assert_eq!(shown("generate alias/lake"), "generate alias/lake");
    }
}
