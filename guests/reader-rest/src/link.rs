//! `Link` headers, RFC 8288: the target of the link that is `next`.

/// The first target with the relation `next`, as it is written. `headers` are the values of all `Link` headers.
pub fn next<'a>(headers: impl Iterator<Item = &'a str>) -> Option<String> {
    headers.flat_map(links).find_map(|link| {
        let is_next = |(name, value): &(String, String)| {
            name == "rel"
                && value
                    .split_ascii_whitespace()
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        };
        // Of several `rel`, the first counts; a link with an anchor is about something else.
        let rel = link.parameters.iter().find(|(name, _)| name == "rel")?;
        let has_anchor = link.parameters.iter().any(|(name, _)| name == "anchor");
        (is_next(rel) && !has_anchor).then_some(link.target)
    })
}

struct Link {
    target: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

/// The links of one header, up to where it cannot be read.
fn links(header: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while let Some((target, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        let mut link = Link {
            target: target.trim().to_owned(),
            parameters: Vec::new(),
        };
        rest = after.trim_start();
        while let Some(after) = rest.strip_prefix(';') {
            let (name, value, after) = parameter(after.trim_start());
            if !name.is_empty() {
                link.parameters.push((name.to_ascii_lowercase(), value));
            }
            rest = after.trim_start();
        }
        links.push(link);
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    links
}

/// Name, value and what follows.
fn parameter(text: &str) -> (&str, String, &str) {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some(value) = rest.strip_prefix('=').map(str::trim_start) else {
        return (name.trim(), String::new(), rest);
    };
    match value.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) = unquote(quoted);
            (name.trim(), value, rest)
        }
        None => {
            let end = value.find([';', ',']).unwrap_or(value.len());
            let (value, rest) = value.split_at(end);
            (name.trim(), value.trim().to_owned(), rest)
        }
    }
}

fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            _ => value.push(char),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_link_that_is_next() {
        let check = |header: &str, expected: Option<&str>| {
            assert_eq!(next([header].into_iter()).as_deref(), expected, "{header}");
        };
        check("", None);
        check("<http://h/1>; rel=\"prev\"", None);
        check("<http://h/2>; rel=\"next\"", Some("http://h/2"));
        check("<http://h/2>;rel=next", Some("http://h/2"));
        check(
            "<http://h/1>; rel=\"first\", <?page=2>; rel=\"next\"",
            Some("?page=2"),
        );
        check(
            "<http://h/a,b;c>; title=\"x, <y>; rel=next\"; rel=\"last Next\"",
            Some("http://h/a,b;c"),
        );
        check("</2>; REL=next; rel=prev", Some("/2"));
        check("</2>; rel=prev; rel=next", None);
        check("</2>; rel=next; anchor=\"/other\"", None);
        check("</2>; title=\"a \\\" b\"; rel=\"next\"", Some("/2"));
        check("http://h/2; rel=next", None);
        check("<http://h/2", None);
        check("<http://h/2>; rel=\"next", Some("http://h/2"));
        check(", , <http://h/2>; ; rel=next", Some("http://h/2"));
    }

    #[test]
    fn several_headers_are_read_together() {
        let headers = ["</1>; rel=prev", "</3>; rel=next"];
        assert_eq!(next(headers.into_iter()).as_deref(), Some("/3"));
    }
}
