//! A parsed body: its bytes, and a tape that says where each value lies.
//!
//! A value is one node of 8 bytes, an array or object two, followed by what they hold; of an object that is a key and a
//! value in turn. So a body takes at most about six times its size, that of `[[],[],…`. The body is copied once, as the
//! text that it was found to be, and a text is read where it lies. What the tape says holds, since only `parse.rs` makes one.

use std::borrow::Cow;

use super::Result;
use super::parse::{checked, parse};
use super::text::unescape;

/// The largest body, in bytes, and the most nodes: lengths and places have 29 bits.
pub const MAX_BODY_BYTES: usize = (1 << TAIL_BITS) - 1;

const TAIL_BITS: u32 = 29;

/// A body and its tape.
pub struct Tape {
    body: Box<str>,
    nodes: Vec<Node>,
    has_lines: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    True,
    False,
    Number,
    /// A text that stands for itself.
    Text,
    /// A text with escapes.
    Escaped,
    Array,
    Object,
}

/// Where a value begins, and behind its kind how long it is; of a text without its quotes. Of a container, the node
/// past its end, and a second node: the byte past its end and how many values it holds.
#[derive(Clone, Copy)]
pub(super) struct Node {
    pub start: u32,
    tail: u32,
}

impl Node {
    pub fn new(kind: Kind, start: usize, tail: usize) -> Self {
        Self {
            start: start as u32,
            tail: (kind as u32) << TAIL_BITS | tail as u32,
        }
    }

    /// The second one of a container.
    pub fn end(end: usize, count: u32) -> Self {
        Self {
            start: end as u32,
            tail: count,
        }
    }

    pub fn kind(self) -> Kind {
        match self.tail >> TAIL_BITS {
            0 => Kind::Null,
            1 => Kind::True,
            2 => Kind::False,
            3 => Kind::Number,
            4 => Kind::Text,
            5 => Kind::Escaped,
            6 => Kind::Array,
            _ => Kind::Object,
        }
    }

    /// The length of a scalar, or the node past the end of a container.
    pub fn tail(self) -> u32 {
        self.tail & ((1 << TAIL_BITS) - 1)
    }

    /// The bytes of a scalar.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.tail()) as usize
    }
}

/// The node behind the value at `at`.
pub(super) fn past(nodes: &[Node], at: u32) -> u32 {
    let node = nodes[at as usize];
    match node.kind() {
        Kind::Array | Kind::Object => node.tail(),
        _ => at + 1,
    }
}

impl Tape {
    /// Parses `body` whole, and keeps a copy of it. Both take no more than about `max_bytes`.
    pub fn parse(body: &[u8], has_lines: bool, max_bytes: u64) -> Result<Self> {
        let text = checked(body)?;
        let left = max_bytes.saturating_sub(body.len() as u64);
        let nodes = parse(text, has_lines, left)?;
        Ok(Self {
            body: text.into(),
            nodes,
            has_lines,
        })
    }

    /// What this takes, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        (self.body.len() + self.nodes.capacity() * size_of::<Node>()) as u64
    }

    /// To read from.
    pub fn document(&self) -> Document<'_> {
        Document {
            text: &self.body,
            nodes: &self.nodes,
            has_lines: self.has_lines,
        }
    }
}

/// A parsed text.
pub struct Document<'a> {
    text: &'a str,
    nodes: &'a [Node],
    has_lines: bool,
}

impl<'a> Document<'a> {
    pub fn root(&self) -> Value<'_> {
        self.value(0)
    }

    pub(super) fn value(&self, at: u32) -> Value<'_> {
        Value { document: self, at }
    }

    pub(super) fn node(&self, at: u32) -> Node {
        self.nodes[at as usize]
    }

    pub(super) fn past(&self, at: u32) -> u32 {
        past(self.nodes, at)
    }

    /// The text of a scalar: a text without its quotes and as it is written.
    pub(super) fn scalar(&self, node: Node) -> &'a str {
        self.text.get(node.range()).unwrap_or_default()
    }

    /// How many values a container holds.
    pub(super) fn count(&self, at: u32) -> u32 {
        self.nodes[at as usize + 1].tail
    }
}

/// One value of a document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document<'a>,
    pub(super) at: u32,
}

impl<'a> Value<'a> {
    pub(super) fn document(self) -> &'a Document<'a> {
        self.document
    }

    pub fn kind(self) -> Kind {
        self.node().kind()
    }

    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// As it is written. A document of lines is written as an array of them.
    pub fn raw(self) -> Cow<'a, str> {
        if self.document.has_lines && self.at == 0 {
            let lines: Vec<_> = self.elements().map(Value::raw).collect();
            return format!("[{}]", lines.join(",")).into();
        }
        self.written().into()
    }

    /// The length of what [`Value::raw`] gives, or somewhat less.
    pub fn raw_len(self) -> usize {
        self.written().len()
    }

    fn written(self) -> &'a str {
        let node = self.node();
        let range = node.range();
        let range = match node.kind() {
            Kind::Text | Kind::Escaped => range.start - 1..range.end + 1,
            Kind::Array | Kind::Object => {
                range.start..self.document.nodes[self.at as usize + 1].start as usize
            }
            _ => range,
        };
        self.document.text.get(range).unwrap_or_default()
    }

    /// What a text says, or what a number or word looks like.
    pub fn text(self) -> Cow<'a, str> {
        let node = self.node();
        let text = self.document.scalar(node);
        match node.kind() {
            Kind::Escaped => unescape(text).into(),
            _ => text.into(),
        }
    }

    /// How many values an array or object holds; 0 for others.
    pub fn count(self) -> u32 {
        match self.kind() {
            Kind::Array | Kind::Object => self.document.count(self.at),
            _ => 0,
        }
    }

    /// The elements of an array; none of others.
    pub fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let (mut at, end) = match self.kind() {
            Kind::Array => (self.at + 2, self.node().tail()),
            _ => (0, 0),
        };
        std::iter::from_fn(move || {
            let value = (at < end).then(|| self.document.value(at))?;
            at = self.document.past(at);
            Some(value)
        })
    }

    /// The keys and values of an object; none of others.
    pub fn members(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let (mut at, end) = match self.kind() {
            Kind::Object => (self.at + 2, self.node().tail()),
            _ => (0, 0),
        };
        std::iter::from_fn(move || {
            let key = (at < end).then(|| self.document.value(at))?;
            let value = self.document.value(at + 1);
            at = self.document.past(at + 1);
            Some((key, value))
        })
    }

    fn node(self) -> Node {
        self.document.node(self.at)
    }
}
