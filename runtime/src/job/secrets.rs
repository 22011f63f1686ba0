//! `${SECRET:NAME}`: finding the values, hiding them from components, putting them in at the wire.
//!
//! A component sees an opaque placeholder. [`Secrets::fill`] is the only way back to the value and is
//! for client and backend files alone. Knows no YAML.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::implementation::Refusal;
use super::provider;
use super::written::{Place, Traces, Unfit, is_sendable, traces, write};

/// What a reference starts with.
pub const MARK: &str = "${SECRET:";
/// Largest secret, in bytes: a certificate chain fits, a data file given by mistake does not.
const MAX_BYTES: u64 = 64 << 10;
/// Longest name; it becomes a file name.
const MAX_NAME: usize = 128;

/// What every placeholder begins with.
const PLACEHOLDER: &str = "dativo-secret-";

/// One value that must not be shown: no `Display`, no `Serialize`, and `Debug` prints its name.
#[derive(Clone)]
struct Secret {
    name: String,
    placeholder: String,
    value: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

/// The secrets of one job. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// Puts the values in place of their placeholders. Call it where bytes leave for a target that
    /// the grant covers, and nowhere else.
    pub fn fill(&self, text: &str) -> String {
        let values: Vec<_> = self
            .0
            .iter()
            .map(|s| (s.placeholder.as_str(), s.value.as_str()))
            .collect();
        replace(text, &values)
    }

    /// Puts `${SECRET:NAME}` in place of values and placeholders: for logs, errors and reports.
    pub fn mask(&self, text: &str) -> String {
        let mut shown = Vec::new();
        for secret in self.0.iter() {
            let name = format!("{MARK}{}}}", secret.name);
            shown.push((secret.placeholder.clone(), name.clone()));
            for form in forms(&secret.value) {
                shown.push((form, name.clone()));
            }
        }
        // One value may be the beginning of another: the longest match hides most.
        shown.sort_by_key(|(hidden, _)| std::cmp::Reverse(hidden.len()));
        let shown: Vec<_> = shown
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        replace(text, &shown)
    }

    /// [`Self::fill`] for a part of an HTTP request, with the values written as that part asks.
    pub fn fill_http(&self, text: &[u8], place: Place) -> Result<Vec<u8>, Unfit> {
        let mut result = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest
            .iter()
            .position(|byte| *byte == PLACEHOLDER.as_bytes()[0])
        {
            let (before, from) = rest.split_at(at);
            result.extend_from_slice(before);
            let found = from.starts_with(PLACEHOLDER.as_bytes()).then(|| {
                let mut secrets = self.0.iter();
                secrets.find(|secret| from.starts_with(secret.placeholder.as_bytes()))
            });
            let taken = match found.flatten() {
                Some(secret) => {
                    let written = write(&secret.name, &secret.value, place)?;
                    result.extend_from_slice(written.as_bytes());
                    secret.placeholder.len()
                }
                None => {
                    result.push(from[0]);
                    1
                }
            };
            rest = &from[taken..];
        }
        result.extend_from_slice(rest);
        Ok(result)
    }

    /// What to search answers for, and the placeholder that stands there instead. For the client that conceals them.
    pub fn traces(&self) -> Vec<(Traces, String)> {
        let sent = self.0.iter().filter(|secret| is_sendable(&secret.value));
        sent.map(|secret| (traces(&secret.value), secret.placeholder.clone()))
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How a value looks in plain text, inside JSON and inside a URL.
fn forms(value: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(value).to_string();
    let in_url: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut forms = vec![
        value.to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        in_url.replace('+', "%20"),
        in_url,
    ];
    forms.sort();
    forms.dedup();
    forms.retain(|form| !form.is_empty());
    forms
}

/// One pass from left to right, so that what was put in is not searched again.
fn replace(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((from, to)) = pairs.iter().find(|(from, _)| rest.starts_with(from)) {
            result.push_str(to);
            rest = &rest[from.len()..];
        } else {
            result.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    result
}

/// Where values come from, and what has been found so far.
pub struct Resolver {
    /// The tenant's own directory of files.
    directory: Option<PathBuf>,
    without_environment: bool,
    /// The operator's command, which stands in place of both, and the tenant.
    command: Option<(Vec<String>, String)>,
    /// Nothing for a name that was refused.
    found: BTreeMap<String, Option<Secret>>,
}

impl Resolver {
    /// `directory` holds one folder for each tenant; the tenant's name has been checked.
    pub fn new(directory: Option<&Path>, tenant: &str) -> Self {
        Self {
            directory: directory.map(|dir| dir.join(tenant)),
            without_environment: false,
            command: None,
            found: BTreeMap::new(),
        }
    }

    /// Whether variables of the environment are no secrets: where jobs are not the user's own, they are not theirs to read.
    #[must_use]
    pub fn without_environment(self, without_environment: bool) -> Self {
        Self {
            without_environment,
            ..self
        }
    }

    /// Values come from a command of the operator's alone, where there is one.
    #[must_use]
    pub fn with_command(self, command: Option<Vec<String>>, tenant: &str) -> Self {
        let command = command.map(|command| (command, tenant.to_owned()));
        Self { command, ..self }
    }

    /// `text` with a placeholder for every reference, and what is wrong with the others beside the
    /// part of the text that it is about.
    pub fn hide(&mut self, text: &str) -> (String, Vec<(String, Refusal)>) {
        let mut result = String::with_capacity(text.len());
        let mut refusals = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find(MARK) {
            result.push_str(&rest[..start]);
            let reference = &rest[start..];
            let end = reference.find('}').map_or(reference.len(), |end| end + 1);
            let (reference, after) = reference.split_at(end);
            let name = reference[MARK.len()..].strip_suffix('}');
            match name.filter(|name| is_name(name)) {
                None => refusals.push((reference.to_owned(), malformed(reference))),
                Some(name) => match self.find(name) {
                    Ok(placeholder) => result.push_str(&placeholder),
                    Err(refusal) => refusals.push((reference.to_owned(), refusal)),
                },
            }
            rest = after;
        }
        result.push_str(rest);
        (result, refusals)
    }

    pub fn finish(self) -> Secrets {
        Secrets(self.found.into_values().flatten().collect())
    }

    /// The placeholder of a secret. A name is looked up, and refused, once.
    fn find(&mut self, name: &str) -> Result<String, Refusal> {
        if let Some(known) = self.found.get(name) {
            return Ok(known
                .as_ref()
                .map(|secret| secret.placeholder.clone())
                .unwrap_or_default());
        }
        let value = self.read(name).inspect_err(|_| {
            self.found.insert(name.to_owned(), None);
        })?;
        let placeholder = placeholder();
        let secret = Secret {
            name: name.to_owned(),
            placeholder: placeholder.clone(),
            value,
        };
        self.found.insert(name.to_owned(), Some(secret));
        Ok(placeholder)
    }

    fn read(&self, name: &str) -> Result<String, Refusal> {
        if let Some((command, tenant)) = &self.command {
            return provider::ask(command, tenant, name, MAX_BYTES).map_err(|why| Refusal {
                message: format!("secret `{name}` cannot be had: {why}"),
                hint: "the operator looks at `secrets.command` in the file on the tenant"
                    .to_owned(),
            });
        }
        let file = self
            .directory
            .as_ref()
            .map(|directory| directory.join(name));
        if let (Some(directory), Some(file)) = (&self.directory, &file)
            && let Some(value) = read_file(directory, file).map_err(|why| Refusal {
                message: format!("secret `{name}` cannot be read: {why}"),
                hint: format!("put the value alone into `{}`", file.display()),
            })?
        {
            return Ok(value);
        }
        if self.without_environment {
            return Err(Refusal {
                message: format!("secret `{name}` is not set"),
                hint: format!(
                    "start with `--secrets DIR` and put the value into `DIR/TENANT/{name}`: a process that serves takes none from its environment"
                ),
            });
        }
        let or_file = file.map_or(String::new(), |file| {
            format!(" or put the value into `{}`", file.display())
        });
        let hint = format!("`export {name}=...`{or_file}");
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(value),
            Ok(_) => Err(Refusal {
                message: format!("secret `{name}` is empty"),
                hint,
            }),
            Err(std::env::VarError::NotPresent) => Err(Refusal {
                message: format!("secret `{name}` is not set"),
                hint,
            }),
            Err(std::env::VarError::NotUnicode(_)) => Err(Refusal {
                message: format!("secret `{name}` is not UTF-8 text"),
                hint,
            }),
        }
    }
}

/// The value in `file` without its last line end; nothing if there is no such file.
fn read_file(directory: &Path, file: &Path) -> Result<Option<String>, String> {
    let real = match file.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // Mounted secrets are links, but a link must not lead to another tenant's.
    let directory = directory
        .canonicalize()
        .map_err(|error| error.to_string())?;
    if !real.starts_with(&directory) {
        return Err("it is a link that leads out of the tenant's directory".to_owned());
    }
    let metadata = real.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut value = String::new();
    File::open(&real)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut value))
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        })?;
    if value.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.is_empty() {
        Err("it is empty".to_owned())
    } else {
        Ok(Some(value))
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn malformed(reference: &str) -> Refusal {
    Refusal {
        message: format!("`{}` is not a reference to a secret", shorten(reference)),
        hint: "write `${SECRET:NAME}`, with letters, digits and `_` in the name".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Not to be guessed, and safe in a URL, a header and a file name. Four identifiers give some 300
/// random bits; the hash leaves none of their clock.
fn placeholder() -> String {
    let mut hash = Sha256::new();
    for _ in 0..4 {
        hash.update(Uuid::now_v7().as_bytes());
    }
    let mut text = PLACEHOLDER.to_owned();
    for byte in &hash.finalize()[..16] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
impl Secrets {
    /// Secrets of tests, and the placeholder of each.
    pub fn of(values: &[(&str, &str)]) -> (Self, Vec<String>) {
        let secrets = values.iter().map(|(name, value)| Secret {
            name: (*name).to_owned(),
            placeholder: placeholder(),
            value: (*value).to_owned(),
        });
        let secrets: Arc<[Secret]> = secrets.collect();
        let placeholders = secrets.iter().map(|secret| secret.placeholder.clone());
        let placeholders = placeholders.collect();
        (Self(secrets), placeholders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(files: &[(&str, &str)]) -> (tempfile::TempDir, Resolver) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("acme")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let resolver = Resolver::new(Some(dir.path()), "acme");
        (dir, resolver)
    }

    fn refusal(resolver: &mut Resolver, text: &str) -> String {
        let (_, refusals) = resolver.hide(text);
        refusals
            .into_iter()
            .map(|(part, refusal)| format!("{part} {}\n", refusal.message))
            .collect()
    }

    #[test]
    fn refuses_references_that_lead_nowhere() {
        let (dir, mut resolver) = resolver(&[("acme/EMPTY", "\n"), ("OTHER", "of another tenant")]);
        std::fs::create_dir(dir.path().join("acme/FOLDER")).unwrap();
        std::fs::write(dir.path().join("acme/BINARY"), [0xff, 0xfe]).unwrap();
        std::fs::write(dir.path().join("acme/HUGE"), vec![b'x'; 70_000]).unwrap();
        std::os::unix::fs::symlink("../OTHER", dir.path().join("acme/LINK")).unwrap();
        let mut check = |text: &str, expected: &str| {
            let got = refusal(&mut resolver, text);
            assert!(
                !expected.is_empty() && got.contains(expected),
                "{text}: {got}"
            );
        };
        check(
            "${SECRET:NO_SUCH_SECRET_HERE}",
            "`NO_SUCH_SECRET_HERE` is not set",
        );
        check("${SECRET:EMPTY}", "it is empty");
        check("${SECRET:FOLDER}", "it is not a file");
        check("${SECRET:BINARY}", "it is not UTF-8 text");
        check("${SECRET:HUGE}", "more than 65536 bytes");
        check("${SECRET:LINK}", "leads out of the tenant's directory");
        check("${SECRET:../OTHER}", "is not a reference");
        check("${SECRET:}", "is not a reference");
        check("a ${SECRET:NAME", "is not a reference");
    }

    #[test]
    fn a_tenant_file_goes_before_the_environment() {
        let (_dir, mut resolver) = resolver(&[("acme/CARGO_PKG_NAME", "from a file\n")]);
        let (hidden, refusals) =
            resolver.hide("a ${SECRET:CARGO_PKG_NAME} b ${SECRET:CARGO_PKG_VERSION}");
        assert!(
            refusals.is_empty() && !hidden.contains("from a file"),
            "{hidden}"
        );
        let expected = format!("a from a file b {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(resolver.finish().fill(&hidden), expected);
    }

    #[test]
    fn placeholders_are_safe_in_urls_and_differ_between_loads() {
        let hide = || {
            let (_dir, mut resolver) = resolver(&[("acme/KEY", "v")]);
            resolver.hide("${SECRET:KEY}").0
        };
        let (one, other) = (hide(), hide());
        assert_ne!(one, other);
        assert_eq!(one.len(), "dativo-secret-".len() + 32);
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }

    #[test]
    fn masks_values_placeholders_and_their_encoded_forms() {
        let (_dir, mut resolver) = resolver(&[
            ("acme/KEY", "p\"ss word"),
            ("acme/LONG", "p\"ss word and more"),
            ("acme/S", "SECRET"),
        ]);
        let (hidden, _) = resolver.hide("${SECRET:KEY} ${SECRET:LONG} ${SECRET:S}");
        let secrets = resolver.finish();
        assert_eq!(
            secrets.mask(&hidden),
            "${SECRET:KEY} ${SECRET:LONG} ${SECRET:S}"
        );
        assert_eq!(
            secrets.mask("p\"ss word and more, p\"ss word, SECRET"),
            "${SECRET:LONG}, ${SECRET:KEY}, ${SECRET:S}"
        );
        assert_eq!(
            secrets.mask("{\"k\":\"p\\\"ss word\"}"),
            "{\"k\":\"${SECRET:KEY}\"}"
        );
        assert_eq!(
            secrets.mask("?k=p%22ss+word&l=p%22ss%20word"),
            "?k=${SECRET:KEY}&l=${SECRET:KEY}"
        );
        assert!(!format!("{secrets:?}").contains("word"));
    }
}
