//! YAML text → a JSON value, and the place of every key and value in the file.
//!
//! The only file that knows YAML. Knows nothing about what a job means.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error as YamlError, MessageFormatter as _, Spanned, UserMessageFormatter};

use crate::error::{Error, Kind, Location};

/// Largest file, in bytes. It is written by hand; a megabyte is some 20,000 lines.
pub const MAX_BYTES: u64 = 1 << 20;
/// Most values in one file once its aliases are expanded: a bound on alias bombs.
const MAX_NODES: usize = 50_000;

/// Deepest nesting. A config needs some five levels; each costs stack while it is read.
const MAX_DEPTH: usize = 24;

/// One parsed file. Parts of it are named by JSON pointers (`/source/reader/config`).
#[derive(Debug)]
pub struct Document {
    value: Value,
    places: HashMap<String, Place>,
    source: Source,
}

/// What a file is, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Job,
    Asset,
    Tenant,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            What::Job => "job",
            What::Asset => "asset",
            What::Tenant => "tenant",
        }
    }
}

#[derive(Debug)]
struct Source {
    what: What,
    file: PathBuf,
    lines: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    key: Option<Span>,
    value: Span,
    /// A mapping, a list or nothing: its key says better where it is.
    wide: bool,
}

/// Line and column from 1, length in characters (may reach past the end of the line).
#[derive(Debug, Clone, Copy)]
struct Span {
    line: usize,
    column: usize,
    length: usize,
}

impl Document {
    /// Reads `text`. Problems of the mapping structure (a key given twice) come back beside the
    /// document, so that they can be reported together with what else is wrong.
    pub fn parse(what: What, file: &Path, text: &str) -> Result<(Self, Vec<Error>), Error> {
        let source = Source {
            what,
            file: file.to_path_buf(),
            lines: text.lines().map(str::to_owned).collect(),
        };
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::new(
                Kind::JobInvalid,
                format!(
                    "the {} file has {} bytes; the limit is {MAX_BYTES}",
                    what.name(),
                    text.len()
                ),
            )
            .at(source.location(Span {
                line: 1,
                column: 1,
                length: 1,
            }))
            .hint("check that this file is not data"));
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::Reject,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            with_snippet: false,
        };
        let node: Node = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| source.syntax_error(&error))?;
        let mut document = Self {
            value: Value::Null,
            places: HashMap::new(),
            source,
        };
        let mut problems = Vec::new();
        document.value = document.place(node, None, &mut String::new(), &mut problems);
        Ok((document, problems))
    }

    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// `job` or `asset`.
    pub fn what(&self) -> &'static str {
        self.source.what.name()
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The place of the value at `pointer`, or of its nearest parent that is in the file.
    pub fn locate(&self, pointer: &str) -> Option<Location> {
        let place = self.nearest(pointer)?;
        self.source.location(match place.key {
            Some(key) if place.wide => key,
            _ => place.value,
        })
    }

    /// The place of the key that names the value at `pointer`, or of its nearest parent.
    pub fn locate_key(&self, pointer: &str) -> Option<Location> {
        let place = self.nearest(pointer)?;
        self.source.location(place.key.unwrap_or(place.value))
    }

    /// The place of `part` inside the text at `pointer`, if it stands on that line as it is.
    pub fn locate_part(&self, pointer: &str, part: &str) -> Option<Location> {
        let mut location = self.locate(pointer)?;
        let before: usize = location
            .text
            .chars()
            .take(location.column - 1)
            .map(char::len_utf8)
            .sum();
        if let Some(at) = location.text.get(before..).and_then(|rest| rest.find(part)) {
            location.column = location.text[..before + at].chars().count() + 1;
            location.length = part.chars().count();
        }
        Some(location)
    }

    fn nearest(&self, pointer: &str) -> Option<&Place> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return Some(place);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    fn place(
        &mut self,
        node: Node,
        key: Option<Span>,
        pointer: &mut String,
        problems: &mut Vec<Error>,
    ) -> Value {
        let span = Span::from(&node.referenced);
        let wide = matches!(
            node.value,
            Tree::Scalar(Value::Null) | Tree::List(_) | Tree::Map(_)
        );
        self.places.insert(
            pointer.clone(),
            Place {
                key,
                value: span,
                wide,
            },
        );
        let parent = pointer.len();
        match node.value {
            Tree::Scalar(value) => value,
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    pointer.push_str(&format!("/{index}"));
                    list.push(self.place(item, None, pointer, problems));
                    pointer.truncate(parent);
                }
                Value::Array(list)
            }
            Tree::Map(entries) => {
                let mut map = Map::new();
                for (key, item) in entries {
                    let span = Span::from(&key.referenced);
                    pointer.push_str(&format!("/{}", escape(&key.value)));
                    if map.contains_key(&key.value) {
                        problems.push(self.duplicate(&key.value, span, pointer));
                    } else {
                        let value = self.place(item, Some(span), pointer, problems);
                        map.insert(key.value, value);
                    }
                    pointer.truncate(parent);
                }
                Value::Object(map)
            }
        }
    }

    fn duplicate(&self, key: &str, span: Span, pointer: &str) -> Error {
        let first = self.places.get(pointer).and_then(|place| place.key);
        Error::new(Kind::JobInvalid, format!("key `{key}` is given twice"))
            .at(self.source.location(span))
            .with("first in line", first.map_or(0, |first| first.line))
            .hint(format!("keep one `{key}`"))
    }
}

/// One segment of a JSON pointer.
pub fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

impl Source {
    fn location(&self, span: Span) -> Option<Location> {
        let text = match self.lines.get(span.line.checked_sub(1)?) {
            Some(line) => line.clone(),
            None => String::new(),
        };
        let rest = (text.chars().count() + 1).saturating_sub(span.column);
        Some(Location {
            file: self.file.clone(),
            line: span.line,
            column: span.column,
            length: span.length.min(rest).max(1),
            text,
        })
    }

    fn syntax_error(&self, error: &YamlError) -> Error {
        let span = error.location().map(|location| Span::from(&location));
        let mut root = error.without_snippet();
        while let YamlError::AliasError { error, .. } = root {
            root = error;
        }
        let tab = span
            .and_then(|span| self.lines.get(span.line.checked_sub(1)?))
            .is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
        let cause = UserMessageFormatter.format_message(root);
        let (message, hint) = match root {
            _ if tab => ("a tab cannot indent YAML", "indent with spaces"),
            YamlError::MultipleDocuments { .. } => (
                "the file holds more than one YAML document",
                match self.what {
                    What::Job => "put each job into its own file and run the directory",
                    What::Asset => "put each asset into its own file",
                    What::Tenant => "put each tenant into its own file",
                },
            ),
            YamlError::Budget { .. }
            | YamlError::AliasReplayLimitExceeded { .. }
            | YamlError::AliasExpansionLimitExceeded { .. }
            | YamlError::AliasReplayStackDepthExceeded { .. } => (
                "the file nests, repeats or expands more than it may",
                "write the values out instead of nesting lists, mappings and aliases",
            ),
            YamlError::NonFiniteFloat { .. } => (
                "this is not a number that a config can hold",
                "put it into quotes if it is text",
            ),
            YamlError::UnknownAnchor { .. } => (
                "this alias names no anchor",
                "put the text into quotes if it really starts with `*`",
            ),
            _ => ("the file is not valid YAML", syntax_hint(&cause)),
        };
        let error = Error::new(Kind::JobInvalid, message)
            .at(span.and_then(|span| self.location(span)))
            .hint(hint);
        // Where the message is ours, it says more than the parser's.
        if message == "the file is not valid YAML" {
            error.caused_by(cause)
        } else {
            error
        }
    }
}

fn syntax_hint(cause: &str) -> &'static str {
    if cause.contains("simple key") || cause.contains("mapping values") {
        "check that every key ends in `: ` and that the indentation lines up"
    } else {
        "check quotes, brackets and indentation around this place"
    }
}

impl From<&serde_saphyr::Location> for Span {
    fn from(location: &serde_saphyr::Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        Self {
            line: number(location.line()),
            column: number(location.column()),
            length: number(location.span().len()),
        }
    }
}

type Node = Spanned<Tree>;

enum Tree {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, a list or a mapping")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Tree::Scalar(Value::Number(number)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
