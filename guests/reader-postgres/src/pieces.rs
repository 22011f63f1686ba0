//! How the rows of a source are shared out: ranges of blocks, and ranges of a column. Pure.

use serde::{Deserialize, Serialize};

use crate::sql::{Sql, quote};

/// Below this a second connection costs more than it saves: 1 MiB of blocks.
const LEAST_BLOCKS: u64 = 128;

/// A part of a source that is read by statements of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `FROM` and a relation.
    pub from: String,
    pub blocks: u64,
    /// Whether a range of its blocks can be read without the others.
    pub is_cuttable: bool,
}

/// A statement from `FROM` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub from: String,
    #[serde(rename = "where")]
    pub filter: String,
    pub parameters: Vec<Option<String>>,
}

impl Piece {
    pub fn new(from: &str, filter: Sql) -> Self {
        Self {
            from: from.to_owned(),
            filter: filter.text,
            parameters: filter.parameters,
        }
    }
}

/// Shares the blocks of `parts` out to at most `max` splits of about the same size. Every row that meets `filter` is
/// in one piece.
pub fn by_blocks(parts: &[Part], filter: &Sql, max: u32) -> Vec<Vec<Piece>> {
    let total: u64 = parts.iter().map(|part| part.blocks).sum();
    let count = (total / LEAST_BLOCKS).clamp(1, u64::from(max.max(1)));
    let cuts: Vec<u64> = (1..count).map(|index| share(total, index, count)).collect();
    let mut splits: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut start = 0;
    for part in parts {
        let end = start + part.blocks;
        // Cuts inside of this part; one that cannot be cut goes whole where its first block goes.
        let inside = cuts.iter().filter(|cut| start < **cut && **cut < end);
        let inside: Vec<u64> = match part.is_cuttable {
            true => inside.map(|cut| cut - start).collect(),
            false => Vec::new(),
        };
        if cuts.contains(&start) {
            splits.push(Vec::new());
        }
        let edges = std::iter::once(None).chain(inside.iter().copied().map(Some));
        let ends = inside.iter().copied().map(Some).chain([None]);
        for (index, (from, to)) in edges.zip(ends).enumerate() {
            if index > 0 {
                splits.push(Vec::new());
            }
            let mut filter = filter.clone();
            blocks(&mut filter, from, to);
            if let Some(split) = splits.last_mut() {
                split.push(Piece::new(&part.from, filter));
            }
        }
        if !part.is_cuttable && cuts.iter().any(|cut| start < *cut && *cut < end) {
            splits.push(Vec::new());
        }
        start = end;
    }
    splits.retain(|split| !split.is_empty());
    splits
}

/// `part * index / count`, without an overflow.
fn share(total: u64, index: u64, count: u64) -> u64 {
    let share = u128::from(total) * u128::from(index) / u128::from(count);
    u64::try_from(share).unwrap_or(total)
}

fn blocks(filter: &mut Sql, from: Option<u64>, to: Option<u64>) {
    if let Some(from) = from {
        filter.and().push(&format!("ctid >= '({from},0)'::tid"));
    }
    if let Some(to) = to {
        filter.and().push(&format!("ctid < '({to},0)'::tid"));
    }
}

/// Whether the ranges of a column of this type can be computed.
pub fn has_ranges(kind: &str) -> bool {
    RANGED.contains(&kind)
}

pub const RANGED: [&str; 6] = [
    "smallint",
    "integer",
    "bigint",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
];

/// Asks for the values that cut the range of `column` into `count` ranges of the same width, in order.
pub fn bounds(column: &str, kind: &str, from: &str, filter: &Sql, count: u32) -> Sql {
    let column = quote(column);
    // An infinite value has no distance to others; it falls into the first range or the last one.
    let (cut, finite) = match kind {
        "date" => (
            "lo + ((hi - lo)::bigint * i / n)::integer",
            format!(" FILTER (WHERE pg_catalog.isfinite({column}))"),
        ),
        "smallint" | "integer" | "bigint" => {
            ("(lo + (hi::numeric - lo) * i / n)::bigint", String::new())
        }
        _ => (
            "lo + (hi - lo) * (i::float8 / n)",
            format!(" FILTER (WHERE pg_catalog.isfinite({column}))"),
        ),
    };
    Sql {
        text: format!(
            "SELECT DISTINCT ({cut})::{kind}::text, ({cut})::{kind}\nFROM (\nSELECT pg_catalog.min({column}){finite} AS lo, \
             pg_catalog.max({column}){finite} AS hi{from}{}\n) AS ends, (SELECT {count}::integer AS n) AS pieces, \
             pg_catalog.generate_series(1, n - 1) AS i\nWHERE lo < hi\nORDER BY 2",
            filter.text
        ),
        parameters: filter.parameters.clone(),
    }
}

/// One split for each range between `bounds`. Nulls go with the first.
pub fn by_ranges(
    column: &str,
    kind: &str,
    bounds: &[String],
    from: &str,
    filter: &Sql,
) -> Vec<Vec<Piece>> {
    let column = quote(column);
    let starts = std::iter::once(None).chain(bounds.iter().map(Some));
    let ends = bounds.iter().map(Some).chain([None]);
    let piece = |(start, end): (Option<&String>, Option<&String>)| {
        let mut filter = filter.clone();
        match (start, end) {
            (None, None) => {}
            (None, Some(end)) => {
                filter.and().push(&format!("({column} < "));
                filter.push_value(end, kind);
                filter.push(&format!(" OR {column} IS NULL)"));
            }
            (Some(start), end) => {
                filter.and().push(&format!("{column} >= "));
                filter.push_value(start, kind);
                if let Some(end) = end {
                    filter.and().push(&format!("{column} < "));
                    filter.push_value(end, kind);
                }
            }
        }
        vec![Piece::new(from, filter)]
    };
    starts.zip(ends).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(from: &str, blocks: u64, is_cuttable: bool) -> Part {
        Part {
            from: from.to_owned(),
            blocks,
            is_cuttable,
        }
    }

    /// `from` and the condition of each piece, by split.
    fn shown(splits: &[Vec<Piece>]) -> Vec<String> {
        let piece = |piece: &Piece| {
            format!(
                "{}{}",
                piece.from,
                piece.filter.replace("\n", " ").replace("::tid", "")
            )
        };
        splits
            .iter()
            .map(|split| split.iter().map(piece).collect::<Vec<_>>().join("; "))
            .collect()
    }

    #[test]
    fn small_tables_have_one_split_without_a_condition() {
        for (blocks, max) in [(0, 4), (255, 4), (100_000, 1), (100_000, 0)] {
            let splits = by_blocks(&[part("t", blocks, true)], &Sql::default(), max);
            assert_eq!(shown(&splits), ["t"]);
        }
        assert_eq!(
            shown(&by_blocks(&[part("t", 9999, false)], &Sql::default(), 4)),
            ["t"]
        );
    }

    #[test]
    fn the_last_range_has_no_end_so_that_a_growing_table_is_read_whole() {
        let mut filter = Sql::default();
        filter.and().push("(a)");
        let splits = by_blocks(&[part("t", 600, true)], &filter, 3);
        assert_eq!(
            shown(&splits),
            [
                "t WHERE (a)   AND ctid < '(200,0)'",
                "t WHERE (a)   AND ctid >= '(200,0)'   AND ctid < '(400,0)'",
                "t WHERE (a)   AND ctid >= '(400,0)'"
            ]
        );
    }

    #[test]
    fn partitions_are_cut_so_that_splits_are_about_equal() {
        let parts = [
            part("a", 100, true),
            part("b", 0, true),
            part("c", 700, true),
            part("f", 200, false),
        ];
        assert_eq!(
            shown(&by_blocks(&parts, &Sql::default(), 2)),
            [
                "a; b; c WHERE ctid < '(400,0)'",
                "c WHERE ctid >= '(400,0)'; f"
            ]
        );
        // Cut where one part ends, and in the middle of one that is read whole.
        assert_eq!(
            shown(&by_blocks(
                &[part("a", 300, true), part("b", 300, true)],
                &Sql::default(),
                2
            )),
            ["a", "b"]
        );
        assert_eq!(
            shown(&by_blocks(
                &[part("f", 600, false), part("a", 200, true)],
                &Sql::default(),
                2
            )),
            ["f", "a"]
        );
    }

    #[test]
    fn every_block_is_in_one_range() {
        for max in 1..9 {
            for sizes in [
                [1, 2, 3000],
                [1000, 1000, 1000],
                [5000, 0, 1],
                [128, 128, 128],
            ] {
                let parts: Vec<Part> = sizes.iter().map(|size| part("p", *size, true)).collect();
                let splits = by_blocks(&parts, &Sql::default(), max);
                assert!(splits.len() <= max as usize);
                let pieces: Vec<&Piece> = splits.iter().flatten().collect();
                let open_ends = pieces
                    .iter()
                    .filter(|piece| !piece.filter.contains('<'))
                    .count();
                let open_starts = pieces
                    .iter()
                    .filter(|piece| !piece.filter.contains(">="))
                    .count();
                assert_eq!((open_starts, open_ends), (3, 3));
            }
        }
    }

    #[test]
    fn ranges_of_a_column_meet_and_take_nulls_once() {
        let bounds = ["10".to_owned(), "20".to_owned()];
        let splits = by_ranges("Id", "bigint", &bounds, "v", &Sql::default());
        assert_eq!(
            shown(&splits),
            [
                r#"v WHERE ("Id" < $1::bigint OR "Id" IS NULL)"#,
                r#"v WHERE "Id" >= $1::bigint   AND "Id" < $2::bigint"#,
                r#"v WHERE "Id" >= $1::bigint"#,
            ]
        );
        assert_eq!(
            shown(&by_ranges("id", "bigint", &[], "v", &Sql::default())),
            ["v"]
        );
    }
}
