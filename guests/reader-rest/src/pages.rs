//! Which page comes after which, and where a run ends. Pure: what an answer says in, the next position out.

use std::collections::HashSet;

use dativo_connector::{Error, Result};

use crate::config::{Endpoint, Pagination};

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    Page(u64),
    Offset(u64),
    /// None: the first one.
    Cursor(Option<String>),
    Url(Option<String>),
    Only,
}

/// What an answer says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub records: u64,
    /// Of its records; none where there are none.
    pub digest: Option<String>,
    pub total_pages: Option<u64>,
    pub total: Option<u64>,
    pub next_cursor: Option<String>,
    /// Of the body or of a `Link` header, absolute.
    pub next_url: Option<String>,
    pub has_more: Option<bool>,
}

/// The pages of one conversation: where it is, and where it was.
#[derive(Debug)]
pub struct Pages {
    kind: Pagination,
    first_page: u64,
    at: Option<Position>,
    /// What was asked for, and what came.
    positions: HashSet<Position>,
    digests: HashSet<String>,
}

impl Position {
    pub fn first(endpoint: &Endpoint) -> Self {
        match endpoint.pagination_type {
            Pagination::Page => Self::Page(endpoint.first_page),
            Pagination::Offset => Self::Offset(0),
            Pagination::Cursor => Self::Cursor(None),
            Pagination::Link | Pagination::NextUrl => Self::Url(None),
            Pagination::None => Self::Only,
        }
    }
}

impl Pages {
    pub fn new(endpoint: &Endpoint, from: Position) -> Self {
        Self {
            kind: endpoint.pagination_type,
            first_page: endpoint.first_page,
            at: Some(from),
            positions: HashSet::new(),
            digests: HashSet::new(),
        }
    }

    /// The page to ask for; none at the end.
    pub fn at(&self) -> Option<&Position> {
        self.at.as_ref()
    }

    /// There is nothing to ask for.
    pub fn end(&mut self) {
        self.at = None;
    }

    /// How many pages came.
    pub fn count(&self) -> usize {
        self.positions.len()
    }

    /// Goes on behind the page that came.
    pub fn turn(&mut self, facts: &Facts) -> Result<()> {
        let Some(at) = self.at.take() else {
            return Ok(());
        };
        if let Some(digest) = &facts.digest
            && !self.digests.insert(digest.clone())
        {
            return Err(Error::rejected(format!(
                "page {} is the same as one before it",
                self.count() + 1
            ))
            .hint(self.remedy()));
        }
        self.at = self.next(&at, facts);
        self.positions.insert(at);
        match &self.at {
            Some(next) if self.positions.contains(next) => {
                let what = match next {
                    Position::Cursor(Some(cursor)) => format!("the cursor `{}`", cut(cursor)),
                    Position::Url(Some(_)) => "the URL of the next page".to_owned(),
                    _ => "the next page".to_owned(),
                };
                Err(Error::rejected(format!(
                    "page {} leads to {what}, where this run was before",
                    self.count()
                ))
                .hint(self.remedy()))
            }
            _ => Ok(()),
        }
    }

    fn next(&self, at: &Position, facts: &Facts) -> Option<Position> {
        if facts.has_more == Some(false) {
            return None;
        }
        match at {
            Position::Page(page) => match facts.total_pages {
                Some(total) if page + 1 >= self.first_page.saturating_add(total) => None,
                None if facts.records == 0 && facts.has_more.is_none() => None,
                _ => Some(Position::Page(page + 1)),
            },
            Position::Offset(offset) => {
                let next = offset + facts.records;
                let is_end = facts.records == 0 || facts.total.is_some_and(|total| next >= total);
                (!is_end).then_some(Position::Offset(next))
            }
            Position::Cursor(_) => facts
                .next_cursor
                .clone()
                .map(|cursor| Position::Cursor(Some(cursor))),
            Position::Url(_) => facts.next_url.clone().map(|url| Position::Url(Some(url))),
            Position::Only => None,
        }
    }

    /// What to do about a conversation that goes round in circles.
    fn remedy(&self) -> &'static str {
        match self.kind {
            Pagination::Page => {
                "the server answers past its end: say where it tells the end, with `total_pages` or `has_more`, and check \
                 `page_param` and `first_page`"
            }
            Pagination::Offset => {
                "check `offset_param` and `page_size_param`, and say where the server tells the end, with `total`"
            }
            Pagination::Cursor => {
                "check `cursor_param` and `next_cursor`: the server may not know this parameter"
            }
            Pagination::Link | Pagination::NextUrl | Pagination::None => {
                "the links of the server lead in a circle; ask who runs it"
            }
        }
    }

    /// How much of the conversation is done, where the server says how much there is.
    pub fn progress(&self, facts: &Facts) -> Option<f32> {
        let (done, all) = match self.at.as_ref()? {
            Position::Page(page) => (page.saturating_sub(self.first_page), facts.total_pages?),
            Position::Offset(offset) => (*offset, facts.total?),
            _ => return None,
        };
        (all > 0).then(|| (done as f64 / all as f64).min(1.0) as f32)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint(kind: &str) -> Endpoint {
        serde_json::from_value(json!({ "api_url": "http://h", "pagination_type": kind })).unwrap()
    }

    fn records(records: u64, digest: &str) -> Facts {
        Facts {
            records,
            digest: (records > 0).then(|| digest.to_owned()),
            ..Facts::default()
        }
    }

    /// Turns over `answers`, and says where the run is then.
    fn after(kind: &str, answers: &[Facts]) -> Result<Option<Position>> {
        let endpoint = endpoint(kind);
        let mut pages = Pages::new(&endpoint, Position::first(&endpoint));
        for answer in answers {
            assert!(pages.at().is_some(), "the run ended before {answer:?}");
            pages.turn(answer)?;
        }
        Ok(pages.at().cloned())
    }

    #[test]
    fn a_circle_is_an_error_and_not_an_endless_run() {
        let error =
            after("page", &[records(2, "a"), records(2, "b"), records(2, "b")]).unwrap_err();
        assert_eq!(error.message, "page 3 is the same as one before it");
        let cursor = |cursor: &str, digest| Facts {
            next_cursor: Some(cursor.to_owned()),
            ..records(1, digest)
        };
        let error = after(
            "cursor",
            &[cursor("x", "a"), cursor("y", "b"), cursor("x", "c")],
        )
        .unwrap_err();
        assert_eq!(
            error.message,
            "page 3 leads to the cursor `x`, where this run was before"
        );
        let url = |digest| Facts {
            next_url: Some("http://h/2".to_owned()),
            ..records(1, digest)
        };
        assert!(after("link", &[url("a"), url("b")]).is_err());
        // A page without records says nothing, but a cursor does.
        let empty = Facts {
            next_cursor: Some("x".to_owned()),
            ..Facts::default()
        };
        assert!(after("cursor", &[empty.clone(), empty]).is_err());
    }

    #[test]
    fn pages_end_where_the_server_says_so_or_at_an_empty_one() {
        let of = |total, count, digest| Facts {
            total_pages: Some(total),
            ..records(count, digest)
        };
        assert_eq!(
            after("page", &[of(2, 5, "a")]).unwrap(),
            Some(Position::Page(2))
        );
        assert_eq!(
            after("page", &[of(2, 5, "a"), of(2, 5, "b")]).unwrap(),
            None
        );
        // A marker goes before emptiness.
        assert_eq!(
            after("page", &[of(3, 5, "a"), of(3, 0, "")]).unwrap(),
            Some(Position::Page(3))
        );
        assert_eq!(after("page", &[of(0, 0, "")]).unwrap(), None);
        // A short page is no end.
        assert_eq!(
            after("page", &[records(5, "a"), records(1, "b")]).unwrap(),
            Some(Position::Page(3))
        );
        assert_eq!(
            after("page", &[records(5, "a"), records(0, "")]).unwrap(),
            None
        );
        let last = Facts {
            has_more: Some(false),
            ..records(5, "a")
        };
        assert_eq!(after("page", &[last]).unwrap(), None);
    }

    #[test]
    fn offsets_count_what_came() {
        let of = |total, count, digest| Facts {
            total: Some(total),
            ..records(count, digest)
        };
        assert_eq!(
            after("offset", &[records(3, "a")]).unwrap(),
            Some(Position::Offset(3))
        );
        assert_eq!(
            after("offset", &[records(3, "a"), records(2, "b")]).unwrap(),
            Some(Position::Offset(5))
        );
        assert_eq!(
            after("offset", &[of(5, 3, "a"), of(5, 2, "b")]).unwrap(),
            None
        );
        assert_eq!(
            after("offset", &[records(3, "a"), records(0, "")]).unwrap(),
            None
        );
    }

    #[test]
    fn cursors_and_links_end_where_there_is_none() {
        let empty_with_cursor = Facts {
            next_cursor: Some("x".to_owned()),
            ..Facts::default()
        };
        assert_eq!(
            after("cursor", &[empty_with_cursor]).unwrap(),
            Some(Position::Cursor(Some("x".to_owned())))
        );
        assert_eq!(after("cursor", &[records(5, "a")]).unwrap(), None);
        assert_eq!(after("next_url", &[records(5, "a")]).unwrap(), None);
        assert_eq!(after("none", &[records(5, "a")]).unwrap(), None);
    }
}
