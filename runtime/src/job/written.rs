//! How the value of a secret is written in an HTTP request, and what it looks like when it comes back. Pure.
//!
//! What comes back was written by a server: into JSON, a URL, HTML, or one inside of the other, each character in a way of its
//! own. So an answer is not searched for a list of forms but for the characters one after the other, each however it is
//! written.

use std::fmt::Write as _;

/// Shortest value that is sent over HTTP, in bytes: a shorter one could not be told from data in an answer.
const MIN_BYTES: usize = 8;
/// Longest: servers take headers of some 8 KiB.
const MAX_BYTES: usize = 4 << 10;

/// Shortest run of letters and digits that is searched for first.
const MIN_ANCHOR: usize = 3;

/// Where in an HTTP request a value is put in, which decides how it is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A path or a query.
    Url,
    Header,
    /// Inside a string of a JSON body.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// As it is.
    Raw,
}

/// A secret that cannot be put where it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    pub message: String,
    pub hint: String,
}

/// What to search an answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// One of these stands wherever the value does, however it is written; empty where there is no telling.
    pub anchors: Vec<String>,
    /// A regular expression over bytes.
    pub pattern: String,
}

/// Whether a value may be sent at all.
pub fn is_sendable(value: &str) -> bool {
    (MIN_BYTES..=MAX_BYTES).contains(&value.len())
}

/// The value of secret `name`, as `place` asks for it.
pub fn write(name: &str, value: &str, place: Place) -> Result<String, Unfit> {
    if value.len() < MIN_BYTES {
        return Err(Unfit {
            message: format!(
                "secret `{name}` is shorter than {MIN_BYTES} bytes, and could not be told from data in an answer"
            ),
            hint: "use a longer secret; a user name need not be one, and can be written as it is"
                .to_owned(),
        });
    }
    if value.len() > MAX_BYTES {
        return Err(Unfit {
            message: format!(
                "secret `{name}` is longer than {MAX_BYTES} bytes, more than a server takes in a header"
            ),
            hint: "give the key or the token alone".to_owned(),
        });
    }
    Ok(match place {
        Place::Url => url_encoded(value),
        Place::Form => url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        Place::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
        Place::Header if value.contains(['\r', '\n', '\0']) => {
            return Err(Unfit {
                message: format!(
                    "secret `{name}` has a line end or a zero byte, and cannot stand in a header"
                ),
                hint: "put the value alone into the secret, on one line".to_owned(),
            });
        }
        Place::Header | Place::Raw => value.to_owned(),
    })
}

/// With every byte percent-encoded that is not unreserved (RFC 3986, section 2.3).
fn url_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            _ => push(&mut text, format_args!("%{byte:02X}")),
        }
    }
    text
}

/// What a value that was sent looks like in an answer.
pub fn traces(value: &str) -> Traces {
    let mut pattern = String::new();
    for character in value.chars() {
        match character.is_ascii() {
            true => ascii(&mut pattern, character as u8),
            false => beyond_ascii(&mut pattern, character),
        }
    }
    let runs = value.split(|c: char| !c.is_ascii_alphanumeric());
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    let anchors = match longest.len() >= MIN_ANCHOR {
        true => anchors(longest),
        false => Vec::new(),
    };
    Traces { anchors, pattern }
}

/// Few writers encode letters and digits; those that do encode all.
fn anchors(run: &str) -> Vec<String> {
    let all = |write: fn(u8) -> String| run.bytes().map(write).collect::<String>();
    let mut anchors = vec![run.to_owned()];
    for percent in ["%", "%25"] {
        anchors.push(all(|byte| format!("%{byte:02x}")).replace('%', percent));
        anchors.push(all(|byte| format!("%{byte:02X}")).replace('%', percent));
    }
    // Up to three times inside of each other: `\u0061`, `\\u0061`, `\\\\u0061`.
    for slashes in [r"\", r"\\", r"\\\\"] {
        anchors.push(all(|byte| format!("\\u{byte:04x}")).replace('\\', slashes));
        anchors.push(all(|byte| format!("\\u{byte:04X}")).replace('\\', slashes));
    }
    anchors
}

/// A backslash, which may be percent-encoded in turn.
const SLASH: &str = r"(?:\\|%(?:25)*5[Cc])";

/// An entity of HTML; which one does not matter where all around it is the value.
const ENTITY: &str = "&(?:amp;)*(?:#x?[0-9a-fA-F]+|[a-z]+);";

/// Raw, percent-encoded however often, as `\u0061` inside of however many strings; and what is special to some writer
/// behind backslashes or as an entity.
fn ascii(pattern: &mut String, byte: u8) {
    let encoded = format!(r"%(?:25)*(?i:{byte:02x})|{SLASH}+u00(?i:{byte:02x})");
    let raw = format!(r"\x{byte:02X}");
    let escaped = |name: char| format!("{raw}|{SLASH}+{name}|{encoded}");
    let written = match byte {
        _ if byte.is_ascii_alphanumeric() => format!("{raw}|{encoded}"),
        b' ' => format!(r"{raw}|\+|{encoded}"),
        b'\n' => escaped('n'),
        b'\r' => escaped('r'),
        b'\t' => escaped('t'),
        8 => escaped('b'),
        12 => escaped('f'),
        b'\\' => format!("{SLASH}+|{encoded}"),
        b'"' | b'\'' | b'<' | b'>' | b'&' | b'`' | b'/' | b'=' => {
            format!("{SLASH}*(?:{raw}|%(?:25)*(?i:{byte:02x}))|{encoded}|{ENTITY}")
        }
        _ => format!("{SLASH}*(?:{raw}|%(?:25)*(?i:{byte:02x}))|{encoded}"),
    };
    push(pattern, format_args!("(?:{written})"));
}

/// As UTF-8, as if that were Latin-1, or lost.
fn beyond_ascii(pattern: &mut String, character: char) {
    let mut buffer = [0; 4];
    let bytes = character.encode_utf8(&mut buffer).as_bytes();
    let utf8 = |bytes: &[u8]| -> String {
        let each = bytes
            .iter()
            .map(|byte| format!(r"(?:\x{byte:02X}|%(?:25)*(?i:{byte:02x}))"));
        each.collect()
    };
    let units = character
        .encode_utf16(&mut [0; 2])
        .iter()
        .map(|unit| format!("{SLASH}+u(?i:{unit:04x})"))
        .collect::<String>();
    let misread = |byte: &u8| {
        let mut buffer = [0; 4];
        let bytes = char::from(*byte).encode_utf8(&mut buffer).as_bytes();
        format!("(?:{}|{SLASH}+u00(?i:{byte:02x}))", utf8(bytes))
    };
    let misread: String = bytes.iter().map(misread).collect();
    let lost = format!(
        r"(?:\?|\xEF\xBF\xBD|{SLASH}+u(?i:fffd)){{1,{}}}",
        bytes.len()
    );
    push(
        pattern,
        format_args!("(?:{}|{units}|{misread}|{ENTITY}|{lost})", utf8(bytes)),
    );
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}
