//! Names of objects as text: paths, `file://` and `s3://` URLs, and the wildcards of a grant. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::capabilities::failure::{ErrorKind, Failure};

/// The folder in which a backend keeps what is not published. No name may pass through it.
pub const STAGING_FOLDER: &str = ".dativo-staged";

/// Longest name of a target, in bytes: PATH_MAX of Linux.
const MAX_NAME_BYTES: usize = 4096;

/// Longest segment, in bytes: NAME_MAX of the usual file systems.
const MAX_SEGMENT_BYTES: usize = 255;

/// Longest key of S3, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// Where objects live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// The file system.
    Local,
    /// A service that speaks as S3 does.
    S3,
}

/// Of an absolute path, or of a bucket and a key: never empty, `.`, `..`, and without `/`, `\` and control characters.
pub type Segments = Vec<String>;

#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub store: Store,
    pub segments: Segments,
    /// The text ended in `/`.
    pub is_folder: bool,
}

/// Why a text names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    Empty,
    TooLong,
    /// A control character, NUL among them.
    Control,
    Backslash,
    EmptySegment,
    /// `.` or `..` after a name.
    Dots,
    /// `%2e`, `%2f`, `%5c` and the like, where they could be taken for `.`, `/` or `\`.
    EncodedSeparator,
    /// `%` without two digits, or bytes that are not UTF-8.
    Encoding,
    /// `?` or `#` in a URL.
    Query,
    /// `file://server/…`, or `file:` without `//`.
    Server,
    /// A URL of another kind.
    Scheme,
    /// What stands after `s3://` is no bucket.
    Bucket,
    Staging,
}

/// Resolves a path or URL against `folder`, by text alone.
pub fn parse(text: &str, folder: &Path) -> Result<Named, Unclear> {
    if text.is_empty() {
        return Err(Unclear::Empty);
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(Unclear::TooLong);
    }
    let decoded;
    let path = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            decoded = decode_url(rest)?;
            decoded.as_str()
        }
        Some((scheme, rest)) if is_scheme(scheme) && rest.starts_with("//") => {
            return match scheme {
                "s3" => parse_s3(&rest[2..]),
                _ => Err(Unclear::Scheme),
            };
        }
        _ => text,
    };
    check_characters(path)?;
    let mut segments = match path.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => segments_of(folder)?,
    };
    let relative = path.strip_prefix('/').unwrap_or(path);
    if relative.starts_with('/') {
        return Err(Unclear::EmptySegment);
    }
    let may_climb = !path.starts_with('/');
    let is_folder = matches!(relative, "" | "." | "..") || relative.ends_with('/');
    let mut named = false;
    let trimmed = relative.strip_suffix('/').unwrap_or(relative);
    for segment in trimmed.split('/').filter(|_| !trimmed.is_empty()) {
        match segment {
            "" => return Err(Unclear::EmptySegment),
            // Before any name they only say where the name begins; after one `..` may undo a symbolic link.
            "." | ".." if named || !may_climb => return Err(Unclear::Dots),
            "." => {}
            ".." => {
                segments.pop();
            }
            STAGING_FOLDER => return Err(Unclear::Staging),
            encoded if is_encoded_dots(encoded) => return Err(Unclear::EncodedSeparator),
            long if long.len() > MAX_SEGMENT_BYTES => return Err(Unclear::TooLong),
            name => {
                named = true;
                segments.push(name.to_owned());
            }
        }
    }
    Ok(Named {
        store: Store::Local,
        segments,
        is_folder,
    })
}

fn check_characters(name: &str) -> Result<(), Unclear> {
    if name.chars().any(char::is_control) {
        return Err(Unclear::Control);
    }
    match name.contains('\\') {
        true => Err(Unclear::Backslash),
        false => Ok(()),
    }
}

/// What follows `s3://`. A key is taken as it is written: what S3 calls an object is not percent-encoded.
fn parse_s3(name: &str) -> Result<Named, Unclear> {
    check_characters(name)?;
    let (bucket, key) = name.split_once('/').unwrap_or((name, ""));
    if !is_bucket(bucket) {
        return Err(Unclear::Bucket);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Unclear::TooLong);
    }
    let mut segments = vec![bucket.to_owned()];
    let trimmed = key.strip_suffix('/').unwrap_or(key);
    for segment in trimmed.split('/').filter(|_| !key.is_empty()) {
        match segment {
            "" => return Err(Unclear::EmptySegment),
            "." | ".." => return Err(Unclear::Dots),
            STAGING_FOLDER => return Err(Unclear::Staging),
            encoded if is_encoded_dots(encoded) => return Err(Unclear::EncodedSeparator),
            name => segments.push(name.to_owned()),
        }
    }
    Ok(Named {
        store: Store::S3,
        segments,
        is_folder: key.is_empty() || key.ends_with('/'),
    })
}

/// By the rules of S3 for new buckets, without those that only keep names free.
fn is_bucket(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| is_plain(c) || ".-".contains(c))
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
        && !name.contains("..")
}

pub fn path(segments: &[String]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(segments);
    path
}

pub fn url(store: Store, segments: &[String]) -> String {
    match store {
        Store::Local => format!("file:///{}", encode(&segments.join("/"))),
        Store::S3 => format!("s3://{}", segments.join("/")),
    }
}

/// Percent-encodes a path for a URL.
pub fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/=+@,!*'()&;$:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether `pattern` covers `name`, segment by segment. Takes time in the product of their lengths.
pub fn matches(pattern: &[String], name: &[String]) -> bool {
    // `reached[i]`: the pattern so far covers the first `i` segments.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in pattern {
        if part == "**" {
            for i in 0..name.len() {
                reached[i + 1] |= reached[i];
            }
        } else {
            for i in (0..name.len()).rev() {
                reached[i + 1] = reached[i] && matches_segment(part, &name[i]);
            }
            reached[0] = false;
        }
    }
    reached[name.len()]
}

/// `*` stands for any text. Each star takes as little as lets the rest be found, which never misses a match.
fn matches_segment(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

fn segments_of(folder: &Path) -> Result<Segments, Unclear> {
    let text = folder.to_str().ok_or(Unclear::Encoding)?;
    Ok(text
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `%2e` where a segment would otherwise be `.` or `..`.
fn is_encoded_dots(segment: &str) -> bool {
    let dots = segment.replace("%2e", ".").replace("%2E", ".");
    dots != segment && matches!(dots.as_str(), "." | "..")
}

/// What follows `file:`.
fn decode_url(rest: &str) -> Result<String, Unclear> {
    let path = rest
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .ok_or(Unclear::Server)?;
    if path.contains(['?', '#']) {
        return Err(Unclear::Query);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits
            .and_then(|d| u8::from_str_radix(d, 16).ok())
            .ok_or(Unclear::Encoding)?;
        if matches!(byte, b'.' | b'/' | b'\\' | 0) {
            return Err(Unclear::EncodedSeparator);
        }
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| Unclear::Encoding)
}

impl Unclear {
    pub fn failure(self, text: &str) -> Failure {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        let kind = match self {
            Unclear::Scheme | Unclear::Empty => ErrorKind::InvalidConfig,
            _ => ErrorKind::Denied,
        };
        let failure = Failure::new(kind, format!("the name `{shown}` {self}"));
        match self {
            Unclear::Scheme => {
                failure.hint("use a path, or a URL that begins with `file:///` or `s3://`")
            }
            _ => failure,
        }
    }
}

/// Completes `the name … `.
impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unclear::Empty => "is empty",
            Unclear::TooLong => "is longer than 4,096 bytes, than 255 between two `/`, or than the 1,024 of a key of S3",
            Unclear::Control => "holds a control character",
            Unclear::Backslash => "holds a backslash",
            Unclear::EmptySegment => "holds `//`",
            Unclear::Dots => "holds `.` or `..` after a name",
            Unclear::EncodedSeparator => "holds a percent-encoded `.`, `/` or `\\`",
            Unclear::Encoding => "is not percent-encoded UTF-8",
            Unclear::Query => "holds `?` or `#`, which a URL must percent-encode",
            Unclear::Server => "is not of the form `file:///folder/name`",
            Unclear::Scheme => "is a URL of a kind that cannot be read or written",
            Unclear::Bucket => "names no bucket after `s3://`: 3 to 63 of `a-z`, `0-9`, `.` and `-`",
            Unclear::Staging => "passes through the folder for unpublished objects",
        })
    }
}
