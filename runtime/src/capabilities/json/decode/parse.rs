//! From bytes to the nodes of a tape, by RFC 8259 and nothing beside it.
//!
//! The tokenizer is our own. jiter, which is fast, unescapes texts into a buffer and keeps no place of a key, so a tape
//! that only points into the body would have to look for both again; and it takes the last of two equal keys.
//!
//! One loop, with the open containers on a list: the depth of a document takes no stack.

use std::collections::hash_map::RandomState;

use super::tape::{Kind, MAX_BODY_BYTES, Node, past};
use super::text::{BadText, is_same, scan, shown};
use super::{Refusal, Result};

/// How deep containers may be nested.
const MAX_DEPTH: usize = 128;

/// The longest text, as it is written.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// Bytes of a body for each node that is reserved first: dense ones grow from there.
const BYTES_PER_NODE: usize = 12;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The text of a body that is not too long.
pub(super) fn checked(body: &[u8]) -> Result<&str> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Refusal::limit(format!(
            "a body of {} bytes is too long to be parsed; the limit is {MAX_BODY_BYTES}",
            body.len()
        )));
    }
    simdutf8::compat::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Refusal::data(format!("the body is not UTF-8 at byte {at}"))
            .hint("JSON is sent as UTF-8; look at what the server sends")
    })
}

pub(super) fn parse(text: &str, has_lines: bool, max_bytes: u64) -> Result<Vec<Node>> {
    let body = text.as_bytes();
    let max_nodes = usize::try_from(max_bytes / size_of::<Node>() as u64)
        .unwrap_or(usize::MAX)
        .min(MAX_BODY_BYTES);
    let mut parser = Parser {
        bytes: body,
        at: if body.starts_with(BOM) { BOM.len() } else { 0 },
        nodes: Vec::with_capacity((body.len() / BYTES_PER_NODE + 2).min(max_nodes)),
        frames: Vec::with_capacity(16),
        templates: [0; MAX_DEPTH + 1],
        hashes: RandomState::new(),
        max_nodes,
        has_lines,
    };
    let parsed = match has_lines {
        true => parser.lines(body),
        false => parser.whole(),
    };
    match parsed {
        Ok(()) => {
            parser.nodes.shrink_to_fit();
            Ok(parser.nodes)
        }
        Err(fault) => Err(parser.refusal(body, fault)),
    }
}

pub(super) struct Parser<'a> {
    /// The body, or all of it to the end of the line.
    pub(super) bytes: &'a [u8],
    at: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) frames: Vec<Frame>,
    /// The last object at each depth whose keys were compared with each other. One with the same keys in the same order
    /// has no key twice either, and records of a list mostly are alike.
    pub(super) templates: [u32; MAX_DEPTH + 1],
    /// With keys of its own: whoever wrote the body cannot choose keys that have the same hash.
    pub(super) hashes: RandomState,
    max_nodes: usize,
    pub(super) has_lines: bool,
}

/// An open container.
pub(super) struct Frame {
    pub(super) node: u32,
    is_object: bool,
    /// How many values came to an end in it.
    pub(super) count: u32,
    /// Of an object, the key whose value is read.
    key: u32,
    /// The key of the template that is to come, as long as all were the same; 0 otherwise.
    expected: u32,
    pub(super) is_like_template: bool,
}

pub(super) enum Fault {
    Syntax {
        at: usize,
        what: String,
    },
    /// The end came too early.
    Cut,
    TooManyValues,
}

pub(super) type Step<T = ()> = std::result::Result<T, Fault>;

pub(super) fn fault<T>(at: usize, what: impl Into<String>) -> Step<T> {
    Err(Fault::Syntax {
        at,
        what: what.into(),
    })
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Step {
        self.value()?;
        match self.after_space() {
            None => Ok(()),
            Some(_) => fault(self.at, "there is more after the end of the value"),
        }
    }

    fn lines(&mut self, body: &'a [u8]) -> Step {
        let mut end = self.at;
        self.open(false)?;
        // Each line is parsed as if the body ended behind it.
        for line in body[end..].split_inclusive(|byte| *byte == b'\n') {
            self.at = end;
            end += line.len();
            self.bytes = &body[..end];
            if self.after_space().is_none() {
                continue;
            }
            self.whole()?;
            if let Some(root) = self.frames.first_mut() {
                root.count += 1;
            }
        }
        self.at = end;
        self.close();
        Ok(())
    }

    /// Parses one value, with all that it holds.
    fn value(&mut self) -> Step {
        let outside = self.frames.len();
        'value: loop {
            match self.after_space() {
                Some(b'"') => self.text()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b'{') => {
                    self.open(true)?;
                    match self.after_space() {
                        Some(b'"') => {
                            self.key()?;
                            continue 'value;
                        }
                        Some(b'}') => {
                            self.at += 1;
                            self.close();
                        }
                        found => return self.unexpected("a key or `}`", found),
                    }
                }
                Some(b'[') => {
                    self.open(false)?;
                    if self.after_space() != Some(b']') {
                        continue 'value;
                    }
                    self.at += 1;
                    self.close();
                }
                Some(b't') => self.word("true", Kind::True)?,
                Some(b'f') => self.word("false", Kind::False)?,
                Some(b'n') => self.word("null", Kind::Null)?,
                found => return self.unexpected("a value", found),
            }
            // A value has ended, and with it perhaps the containers that it is the last one of.
            loop {
                if self.frames.len() == outside {
                    return Ok(());
                }
                let found = self.after_space();
                let Some(frame) = self.frames.last_mut() else {
                    return Ok(());
                };
                frame.count += 1;
                match (frame.is_object, found) {
                    (false, Some(b',')) => {
                        self.at += 1;
                        continue 'value;
                    }
                    (true, Some(b',')) => {
                        self.at += 1;
                        match self.after_space() {
                            Some(b'"') => self.key()?,
                            found => return self.unexpected("a key", found),
                        }
                        continue 'value;
                    }
                    (false, Some(b']')) => self.at += 1,
                    (true, Some(b'}')) => {
                        self.at += 1;
                        self.check_keys()?;
                    }
                    (false, found) => return self.unexpected("`,` or `]`", found),
                    (true, found) => return self.unexpected("`,` or `}`", found),
                }
                self.close();
            }
        }
    }

    fn after_space(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn unexpected<T>(&self, expected: &str, found: Option<u8>) -> Step<T> {
        match found {
            Some(_) => fault(
                self.at,
                format!("{expected} was expected, not {}", self.found()),
            ),
            None => Err(Fault::Cut),
        }
    }

    /// What stands here, for a message.
    fn found(&self) -> String {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word = &rest[..rest.len().min(16)];
        let len = word
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        match (len, rest.utf8_chunks().next()) {
            (0, Some(chunk)) => {
                let first: String = chunk.valid().chars().take(1).collect();
                format!("`{}`", shown(&first))
            }
            _ => format!("`{}`", String::from_utf8_lossy(&word[..len])),
        }
    }

    fn push(&mut self, node: Node) -> Step {
        if self.nodes.len() >= self.max_nodes {
            return Err(Fault::TooManyValues);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn open(&mut self, is_object: bool) -> Step {
        let depth = self.frames.len() - usize::from(self.has_lines && !self.frames.is_empty());
        if depth == MAX_DEPTH {
            let what = format!("values are nested deeper than {MAX_DEPTH}");
            return fault(self.at, what);
        }
        let node = self.nodes.len() as u32;
        let kind = match is_object {
            true => Kind::Object,
            false => Kind::Array,
        };
        self.push(Node::new(kind, self.at, 0))?;
        self.push(Node::end(0, 0))?;
        let template = match is_object {
            true => self.templates[depth],
            false => 0,
        };
        self.frames.push(Frame {
            node,
            is_object,
            count: 0,
            key: 0,
            expected: if template == 0 { 0 } else { template + 2 },
            is_like_template: template != 0,
        });
        // The array of lines begins before the first byte.
        self.at += usize::from(!self.has_lines || depth > 0 || node > 0);
        Ok(())
    }

    /// Closes the innermost container, which ended before this byte.
    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let (at, past) = (frame.node as usize, self.nodes.len());
        let start = self.nodes[at].start as usize;
        self.nodes[at] = Node::new(self.nodes[at].kind(), start, past);
        self.nodes[at + 1] = Node::end(self.at, frame.count);
    }

    fn text(&mut self) -> Step {
        let start = self.at + 1;
        let (end, is_escaped) = match scan(self.bytes, start) {
            Ok(found) => found,
            Err(BadText { at, .. }) if at >= self.bytes.len() => return Err(Fault::Cut),
            Err(BadText { at, what }) => return fault(at, what),
        };
        if end - start > MAX_TEXT_BYTES {
            return fault(
                self.at,
                format!("a text is longer than {MAX_TEXT_BYTES} bytes"),
            );
        }
        let kind = match is_escaped {
            true => Kind::Escaped,
            false => Kind::Text,
        };
        self.at = end + 1;
        self.push(Node::new(kind, start, end - start))
    }

    fn key(&mut self) -> Step {
        let key = self.nodes.len() as u32;
        self.text()?;
        if self.after_space() != Some(b':') {
            let found = self.after_space();
            return self.unexpected("`:`", found);
        }
        self.at += 1;
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        frame.key = key;
        if !frame.is_like_template {
            return Ok(());
        }
        let template = self.templates[self.frames.len() - 1 - usize::from(self.has_lines)];
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let end = self.nodes[template as usize].tail();
        let same = frame.expected < end && {
            let (old, new) = (
                self.nodes[frame.expected as usize].range(),
                self.nodes[key as usize].range(),
            );
            is_same(&self.bytes[old], &self.bytes[new])
        };
        frame.is_like_template = same;
        if same {
            frame.expected = past(&self.nodes, frame.expected + 1);
        }
        Ok(())
    }

    fn word(&mut self, word: &str, kind: Kind) -> Step {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            if word.as_bytes().starts_with(rest) {
                return Err(Fault::Cut);
            }
            return self.unexpected("a value", rest.first().copied());
        }
        let start = self.at;
        self.at += word.len();
        self.push(Node::new(kind, start, word.len()))
    }

    fn number(&mut self) -> Step {
        let start = self.at;
        let mut at = start + usize::from(self.bytes.get(start) == Some(&b'-'));
        let digits = |mut at: usize| {
            while self.bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let whole = digits(at);
        if whole > at + 1 && self.bytes.get(at) == Some(&b'0') {
            return fault(
                start,
                "a number must not begin with a zero that says nothing",
            );
        }
        let mut ends = whole > at;
        at = whole;
        if ends && self.bytes.get(at) == Some(&b'.') {
            let fraction = digits(at + 1);
            ends = fraction > at + 1;
            at = fraction;
        }
        if ends && matches!(self.bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(self.bytes.get(at), Some(b'+' | b'-')));
            let exponent = digits(at);
            ends = exponent > at;
            at = exponent;
        }
        if !ends {
            self.at = at;
            let found = self.bytes.get(at).copied();
            return self.unexpected("a digit", found);
        }
        self.at = at;
        self.push(Node::new(Kind::Number, start, at - start))
    }

    fn refusal(&self, body: &[u8], fault: Fault) -> Refusal {
        let (at, what) = match fault {
            Fault::Syntax { at, what } => (at, what),
            Fault::Cut => {
                let what = match self.bytes.len() < body.len() {
                    true => "the line ends within a value",
                    false => "the body ends within a value",
                };
                (self.bytes.len(), what.to_owned())
            }
            Fault::TooManyValues => {
                return Refusal::limit(format!(
                    "the body has too many values to be parsed: more than {} in its first {} bytes",
                    self.max_nodes, self.at
                ))
                .hint("ask for smaller pages, or raise `limits: { memory: ... }`");
            }
        };
        let mut place = String::new();
        for frame in &self.frames {
            place.push('/');
            match (frame.is_object, frame.key) {
                (false, _) => place += &frame.count.to_string(),
                (true, 0) => {}
                (true, key) => place += &self.pointer_token(key),
            }
        }
        let place = match place.trim_end_matches('/') {
            "" => String::new(),
            place => format!(" in `{}`", shown(place)),
        };
        let refusal = Refusal::data(format!("the body is not JSON at byte {at}{place}: {what}"));
        let start = body.trim_ascii_start();
        if start.starts_with(b"<") {
            return refusal.hint(
                "it looks like HTML or XML; look at the URL, or ask for JSON with a header `Accept: application/json`",
            );
        }
        match what.as_str() {
            "the body ends within a value" => refusal.hint("it may have been cut short"),
            "there is more after the end of the value" if !self.has_lines => {
                refusal.hint("if it has one value a line, it is JSON Lines")
            }
            _ => refusal,
        }
    }

    fn pointer_token(&self, key: u32) -> String {
        let name = self.name(self.nodes[key as usize]);
        name.replace('~', "~0").replace('/', "~1")
    }
}
