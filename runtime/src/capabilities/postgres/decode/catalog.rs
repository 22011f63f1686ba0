//! What the server's catalog says about the types of a result.
//!
//! Knows no wire format and no Arrow: [`Catalog::QUERY`] asks, [`Catalog::from_rows`] reads the answer.

use std::collections::HashMap;

/// The types in use, those inside of other types included.
#[derive(Debug, Default)]
pub struct Catalog {
    types: HashMap<u32, Type>,
    money_scale: Option<i8>,
}

#[derive(Debug)]
pub(super) struct Type {
    pub name: String,
    pub shape: Shape,
    /// Which extension it belongs to.
    pub extension: Option<String>,
}

#[derive(Debug)]
pub(super) enum Shape {
    /// Known by its number or by its name, or not at all.
    Base,
    Array {
        element: u32,
    },
    Domain {
        base: u32,
        typmod: i32,
    },
    Composite(Vec<Attribute>),
    /// Labels in the order of the type.
    Enum(Vec<String>),
    Range {
        subtype: u32,
    },
    Multirange {
        range: u32,
    },
}

#[derive(Debug)]
pub(super) struct Attribute {
    pub name: String,
    pub oid: u32,
    pub typmod: i32,
}

impl Catalog {
    /// Asks for everything about the types whose numbers are in the array `$1`, for example `{23,1700}`.
    ///
    /// For PostgreSQL 12 and later. `pg_range` got its column for multiranges only in 14, which is why it is looked
    /// for in the row as JSON. Not every type with an element is an array (`point` has one too): arrays are those
    /// that are sent as such. The array in a query of its own and the DISTINCT change nothing but what the planner
    /// expects, which would otherwise be worth compiling the query to it.
    pub const QUERY: &str = "\
WITH RECURSIVE used(oid) AS (
  SELECT pg_catalog.unnest((SELECT $1::pg_catalog.oid[]))
  UNION
  SELECT part.oid
  FROM used
  JOIN pg_catalog.pg_type t ON t.oid = used.oid
  CROSS JOIN LATERAL (
    SELECT t.typbasetype WHERE t.typtype = 'd'
    UNION ALL SELECT t.typelem
      WHERE t.typtype = 'b' AND t.typelem <> 0 AND t.typsend = 'pg_catalog.array_send'::pg_catalog.regproc
    UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid
    UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r
      WHERE t.typtype = 'm' AND (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid = t.oid
    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) part(oid)
)
SELECT t.oid::pg_catalog.text,
  t.typname::pg_catalog.text,
  CASE WHEN t.typtype = 'b' AND t.typelem <> 0 AND t.typsend = 'pg_catalog.array_send'::pg_catalog.regproc
    THEN 'a' ELSE t.typtype::pg_catalog.text END,
  (CASE t.typtype
    WHEN 'b' THEN t.typelem
    WHEN 'd' THEN t.typbasetype
    WHEN 'r' THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
    WHEN 'm' THEN (SELECT r.rngtypid FROM pg_catalog.pg_range r
      WHERE (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid = t.oid)
  END)::pg_catalog.text,
  t.typtypmod::pg_catalog.text,
  CASE t.typtype
    WHEN 'c' THEN (
      SELECT pg_catalog.json_agg(
        pg_catalog.json_build_array(a.attname, a.atttypid::pg_catalog.int8, a.atttypmod) ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
    WHEN 'e' THEN (
      SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)
      FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
  END::pg_catalog.text,
  (SELECT x.extname::pg_catalog.text
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' LIMIT 1),
  CASE t.oid WHEN 790
    THEN pg_catalog.scale(1::pg_catalog.money::pg_catalog.numeric)::pg_catalog.text END
FROM (SELECT DISTINCT oid FROM used) known JOIN pg_catalog.pg_type t ON t.oid = known.oid
ORDER BY t.oid";

    /// Reads what [`Self::QUERY`] answers.
    pub fn from_rows(rows: &[Vec<Option<String>>]) -> Result<Self, String> {
        let mut catalog = Self::default();
        for row in rows {
            let [oid, name, shape, part, typmod, detail, extension, scale] = row.as_slice() else {
                return Err(format!(
                    "the catalog answered {} columns instead of 8",
                    row.len()
                ));
            };
            let oid = number(oid, "oid")?;
            let name = name.clone().unwrap_or_default();
            let detail = detail.as_deref().unwrap_or("[]");
            let shape = match shape.as_deref() {
                Some("a") => Shape::Array {
                    element: number(part, "element")?,
                },
                Some("d") => Shape::Domain {
                    base: number(part, "base type")?,
                    typmod: number(typmod, "modifier")?,
                },
                Some("r") => Shape::Range {
                    subtype: number(part, "subtype")?,
                },
                Some("m") => Shape::Multirange {
                    range: number(part, "range")?,
                },
                Some("c") => Shape::Composite(attributes(detail)?),
                Some("e") => Shape::Enum(json(detail)?),
                _ => Shape::Base,
            };
            if scale.is_some() {
                catalog.money_scale = Some(number(scale, "scale of money")?);
            }
            let extension = extension.clone();
            let known = Type {
                name,
                shape,
                extension,
            };
            catalog.types.insert(oid, known);
        }
        Ok(catalog)
    }

    pub(super) fn get(&self, oid: u32) -> Option<&Type> {
        self.types.get(&oid)
    }

    pub(super) fn money_scale(&self) -> Option<i8> {
        self.money_scale.filter(|scale| (0..=18).contains(scale))
    }
}

fn attributes(detail: &str) -> Result<Vec<Attribute>, String> {
    let attributes: Vec<(String, u32, i32)> = json(detail)?;
    let attributes = attributes.into_iter();
    Ok(attributes
        .map(|(name, oid, typmod)| Attribute { name, oid, typmod })
        .collect())
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("the catalog's answer is not understood: {error}"))
}

fn number<T: std::str::FromStr>(text: &Option<String>, what: &str) -> Result<T, String> {
    let text = text.as_deref().unwrap_or_default();
    text.parse()
        .map_err(|_| format!("the catalog's {what} `{text}` is not a number"))
}
