//! Names of objects as text: paths, `file://` URLs, and the wildcards of a grant. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::capabilities::failure::{ErrorKind, Failure};

/// The folder in which the local backend keeps what is not published. No name may pass through it.
pub const STAGING_FOLDER: &str = ".dativo-staged";

/// Longest name of a target, in bytes: PATH_MAX of Linux.
const MAX_NAME_BYTES: usize = 4096;

/// Longest segment, in bytes: NAME_MAX of the usual file systems.
const MAX_SEGMENT_BYTES: usize = 255;

/// Of an absolute path: never empty, `.`, `..`, and without `/`, `\` and control characters.
pub type Segments = Vec<String>;

#[derive(Debug, PartialEq, Eq)]
pub struct Named {
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
    Staging,
}

/// Resolves a path or `file://` URL against `folder`, by text alone.
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
            return Err(Unclear::Scheme);
        }
        _ => text,
    };
    if path.chars().any(char::is_control) {
        return Err(Unclear::Control);
    }
    if path.contains('\\') {
        return Err(Unclear::Backslash);
    }
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
        segments,
        is_folder,
    })
}

pub fn path(segments: &[String]) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(segments);
    path
}

pub fn url(segments: &[String]) -> String {
    format!("file:///{}", encode(&segments.join("/")))
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
            Unclear::Scheme => failure.hint("use a path, or a URL that begins with `file:///`"),
            _ => failure,
        }
    }
}

/// Completes `the name … `.
impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unclear::Empty => "is empty",
            Unclear::TooLong => "is longer than 4,096 bytes, or than 255 between two `/`",
            Unclear::Control => "holds a control character",
            Unclear::Backslash => "holds a backslash",
            Unclear::EmptySegment => "holds `//`",
            Unclear::Dots => "holds `.` or `..` after a name",
            Unclear::EncodedSeparator => "holds a percent-encoded `.`, `/` or `\\`",
            Unclear::Encoding => "is not percent-encoded UTF-8",
            Unclear::Query => "holds `?` or `#`, which a URL must percent-encode",
            Unclear::Server => "is not of the form `file:///folder/name`",
            Unclear::Scheme => "is a URL of a kind that cannot be read or written",
            Unclear::Staging => "passes through the folder for unpublished objects",
        })
    }
}
