//! JSON Pointers (RFC 6901): where a value is.

use std::borrow::Cow;

use super::tape::{Kind, Value};
use super::text::shown;
use super::{Refusal, Result};

/// The value at `pointer` from `value` on; none where there is none.
pub fn find<'a>(value: Value<'a>, pointer: &str) -> Result<Option<Value<'a>>> {
    Ok(Pointer::parse(pointer)?.find(value))
}

/// The array at `pointer` from `value` on.
pub fn array<'a>(value: Value<'a>, pointer: &str) -> Result<Value<'a>> {
    let problem = match find(value, pointer)? {
        Some(found) if found.kind() == Kind::Array => return Ok(found),
        Some(found) => format!(
            "`{}` is {}, not an array",
            shown(pointer),
            with_article(found.kind())
        ),
        None => format!("there is nothing at `{}`", shown(pointer)),
    };
    Err(Refusal::data(format!("no records: {problem}"))
        .hint("the place of the records is a JSON Pointer to an array, such as `/data/items`"))
}

/// As a sentence needs it: `` `/data` is an object``.
pub(super) fn with_article(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::True | Kind::False => "a boolean",
        Kind::Number => "a number",
        Kind::Text | Kind::Escaped => "a text",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// A pointer whose escapes were found to be good.
pub(super) struct Pointer<'a>(Vec<Cow<'a, str>>);

impl<'a> Pointer<'a> {
    pub fn parse(pointer: &'a str) -> Result<Self> {
        if pointer.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(path) = pointer.strip_prefix('/') else {
            let shown = shown(pointer);
            return Err(Refusal::config(format!(
                "`{shown}` is not a JSON Pointer: it must begin with `/`"
            ))
            .hint(format!("write `/{}`", shown.replace('.', "/"))));
        };
        path.split('/')
            .map(|token| {
                if !token.contains('~') {
                    return Ok(token.into());
                }
                let escapes = token.split('~').skip(1);
                if escapes
                    .into_iter()
                    .any(|rest| !rest.starts_with(['0', '1']))
                {
                    return Err(Refusal::config(format!(
                        "`{}` is not a JSON Pointer: `~` must be followed by `0` or `1`",
                        shown(pointer)
                    ))
                    .hint("write `~0` for `~` and `~1` for `/` in a name"));
                }
                Ok(token.replace("~1", "/").replace("~0", "~").into())
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    pub fn find<'v>(&self, value: Value<'v>) -> Option<Value<'v>> {
        let step = |value: Value<'v>, token: &Cow<str>| match value.kind() {
            Kind::Array => {
                let is_index = token.bytes().all(|byte| byte.is_ascii_digit());
                let is_shortest = token == "0" || !token.starts_with('0');
                let index: usize = token.parse().ok().filter(|_| is_index && is_shortest)?;
                value.elements().nth(index)
            }
            Kind::Object => {
                let mut members = value.members();
                members
                    .find(|(key, _)| key.text() == *token)
                    .map(|(_, value)| value)
            }
            _ => None,
        };
        self.0.iter().try_fold(value, step)
    }
}
