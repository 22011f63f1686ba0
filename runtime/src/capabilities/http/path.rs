//! Paths of URLs: what a rule's path covers, and which paths servers disagree about. Pure.

/// The path of a rule.
#[derive(Debug, Clone)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Ended in `/*`: everything below, and the folder itself.
    is_folder: bool,
}

/// The texts of a segment between its `{name}`s: one text where there is none.
type Segment = Vec<String>;

impl Pattern {
    /// `path` as `url` normalised it.
    pub fn parse(path: &str) -> Result<Self, &'static str> {
        let path = path.replace("%7B", "{").replace("%7D", "}");
        let (fixed, is_folder) = match path.strip_suffix("/*") {
            Some(fixed) => (fixed, true),
            None => (path.as_str(), false),
        };
        if fixed.contains('*') {
            return Err("has a `*` that is not the last segment of its path");
        }
        if is_ambiguous(fixed) {
            return Err("has a path that servers read in more than one way");
        }
        let segments = fixed.split('/').map(segment).collect();
        Ok(Self {
            segments,
            is_folder,
        })
    }

    pub fn matches(&self, path: &str) -> bool {
        let mut asked = path.split('/');
        for segment in &self.segments {
            if !asked.next().is_some_and(|asked| fits(segment, asked)) {
                return false;
            }
        }
        self.is_folder || asked.next().is_none()
    }
}

fn segment(text: &str) -> Segment {
    let mut texts = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else {
            break;
        };
        if let Some(last) = texts.last_mut() {
            last.push_str(before);
        }
        texts.push(String::new());
        rest = after;
    }
    if let Some(last) = texts.last_mut() {
        last.push_str(rest);
    }
    texts
}

/// Whether `asked` is the texts in their order, with something between each two.
fn fits(segment: &Segment, asked: &str) -> bool {
    let [first, middle @ .., last] = segment.as_slice() else {
        return segment.first().is_some_and(|only| only == asked);
    };
    let Some(mut rest) = asked.strip_prefix(first.as_str()) else {
        return false;
    };
    for text in middle {
        let after_one = rest.char_indices().nth(1).map_or(rest.len(), |(at, _)| at);
        let Some(at) = rest.get(after_one..).and_then(|rest| rest.find(text)) else {
            return false;
        };
        rest = &rest[after_one + at + text.len()..];
    }
    rest.strip_suffix(last.as_str())
        .is_some_and(|between| !between.is_empty())
}

/// Whether a server that decodes once more, takes `\` for `/`, or cuts parameters off would see another folder.
pub fn is_ambiguous(path: &str) -> bool {
    let mut decoded = path.to_owned();
    loop {
        let is_dots = |piece: &str| matches!(piece.split(';').next(), Some("." | ".."));
        if decoded.split(['/', '\\']).any(is_dots) {
            return true;
        }
        let next = decode(&decoded);
        if next == decoded {
            return false;
        }
        decoded = next;
    }
}

/// Percent-decoded; what is not UTF-8 then is replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |at: usize| {
            after
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_braces_stands_for_a_part_of_one_segment() {
        let check = |rule: &str, path: &str, expected: bool| {
            let pattern = Pattern::parse(rule).unwrap();
            assert_eq!(pattern.matches(path), expected, "{rule} {path}");
        };
        check("/u/{id}/posts", "/u/7/posts", true);
        check("/u/%7Bid%7D/posts", "/u/7/posts", true);
        check("/u/{id}/posts", "/u//posts", false);
        check("/u/{id}/posts", "/u/7/8/posts", false);
        check("/u/{id}/posts", "/u/7/posts/", false);
        check("/u/{id}/posts", "/u/7", false);
        check("/u/{id}.json", "/u/7.json", true);
        check("/u/{id}.json", "/u/.json", false);
        check("/u/{id}.json", "/u/7.xml", false);
        check("/{a}-{b}", "/x-y", true);
        check("/{a}-{b}", "/--y", true);
        check("/{a}-{b}", "/-y", false);
        check("/{a}-{b}", "/x-", false);
        check("/{a}/*", "/x/y/z", true);
        check("/{a}/*", "/", false);
        check("/*", "/", true);
        check("/{open", "/{open", true);
    }
}
