//! AssetSpec → Contract: types, names that must be there, masks, sizes.
//!
//! Does no I/O but reading secrets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::super::check::{no_secrets_outside, value_problem};
use super::super::implementation::Refusal;
use super::super::secrets::{self, Resolver};
use super::super::units::{self, GIB, MIB};
use super::super::words::{nearest, suggestion};
use super::super::yaml::{Document, escape};
use super::super::{spec::Size, was_refused};
use super::AssetDraft;
use super::spec::{
    AssetSpec, ClassSpec, ColumnSpec, DatasetSpec, FreshnessSpec, MaskSpec, ModeSpec, RowsSpec,
    UniqueSpec, UnknownSpec,
};
use crate::contract::{
    Column, Contract, Dataset, Freshness, MIN_MEMORY_BYTES, Mask, Mode, Type, TypeProblem, Unique,
    Unknown,
};
use crate::error::{Error, Kind};

/// Memory for the keys of a run where the asset does not say.
const DEFAULT_KEY_MEMORY: u64 = 256 * MIB;

const YEAR: Duration = Duration::from_secs(31_557_600);

/// The contract, as far as it can be understood; it is valid where nothing is added to `problems`.
pub fn asset(
    spec: AssetSpec,
    document: &Arc<Document>,
    refused: &[String],
    resolver: &mut Resolver,
    problems: &mut Vec<Error>,
) -> Option<AssetDraft> {
    let mut builder = Builder {
        document,
        refused,
        resolver,
        problems,
        types: HashMap::new(),
    };
    no_secrets_outside(document, &is_key, KEY_HINT, builder.problems);
    let columns = spec.schema.unwrap_or_default();
    for (index, column) in columns.iter().enumerate() {
        builder.name(index, column);
    }
    let classes = builder.classes(spec.classifications.unwrap_or_default());
    let dataset = builder.dataset(spec.dataset.unwrap_or_default());
    let columns: Vec<_> = columns
        .into_iter()
        .enumerate()
        .map(|(index, column)| builder.column(index, column, &classes))
        .collect();
    let (built, keys) = columns
        .into_iter()
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .unzip();
    Some(AssetDraft {
        contract: Contract {
            name: spec.name?,
            version: spec.version?,
            file: document.file().display().to_string(),
            mode: match spec.mode {
                Some(ModeSpec::Warn) => Mode::Warn,
                Some(ModeSpec::Strict) | None => Mode::Strict,
            },
            columns: built,
            dataset,
        },
        keys,
    })
}

const KEY_HINT: &str = "a secret can stand for the `key` of a class, and for nothing else";

/// Whether a pointer leads to the key of a class.
fn is_key(pointer: &str) -> bool {
    let mut parts = pointer.split('/').skip(1);
    (parts.next(), parts.nth(1), parts.next()) == (Some("classifications"), Some("key"), None)
}

struct Builder<'a> {
    document: &'a Arc<Document>,
    refused: &'a [String],
    resolver: &'a mut Resolver,
    problems: &'a mut Vec<Error>,
    /// Name → type of each column, where it has one.
    types: HashMap<String, Option<Type>>,
}

/// A class, ready to be given to columns: its mask, and the placeholder of its key.
type Class = (Option<MaskSpec>, Option<String>);

impl Builder<'_> {
    fn problem(&mut self, pointer: &str, message: String, hint: impl Into<String>) {
        let error = Error::new(Kind::JobInvalid, message)
            .at(self.document.locate(pointer))
            .hint(hint);
        self.problems.push(error);
    }

    /// Takes down the name and type of a column.
    fn name(&mut self, index: usize, column: &ColumnSpec) {
        let at = format!("/schema/{index}");
        let kind = column.kind.as_ref().and_then(|text| self.kind(&at, text));
        let Some(name) = &column.name else { return };
        if self.types.insert(name.clone(), kind).is_some() {
            self.problem(
                &format!("{at}/name"),
                format!("column `{name}` is given twice"),
                format!("keep one `{name}`"),
            );
        }
    }

    fn kind(&mut self, at: &str, text: &str) -> Option<Type> {
        let pointer = format!("{at}/type");
        match Type::parse(text) {
            Ok(kind) => return Some(kind),
            Err(TypeProblem::Must(must)) => self.problem(
                &pointer,
                format!("`type` {must}, not `{text}`"),
                "write it as in `{ name: price, type: \"decimal(12,2)\" }`, in quotes",
            ),
            Err(TypeProblem::Unknown(names)) => {
                let hint = match nearest(text, &names) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("types are `{}`", names.join("`, `")),
                };
                self.problem(&pointer, format!("`{text}` is not a type"), hint);
            }
        }
        None
    }

    fn classes(&mut self, specs: BTreeMap<String, ClassSpec>) -> BTreeMap<String, Class> {
        let mut classes = BTreeMap::new();
        for (name, ClassSpec { mask, key }) in specs {
            let at = format!("/classifications/{}/key", escape(&name));
            let key = key.and_then(|key| self.key(&at, &key, mask));
            classes.insert(name, (mask, key));
        }
        classes
    }

    /// The placeholder of a key, which must be a secret and nothing beside it.
    fn key(&mut self, at: &str, key: &str, mask: Option<MaskSpec>) -> Option<String> {
        if mask != Some(MaskSpec::Hash) {
            let mask_at = format!("{}/mask", at.trim_end_matches("/key"));
            if !was_refused(self.refused, &mask_at) {
                let message = "a `key` is for `mask: hash` alone".to_owned();
                self.problem(at, message, "write `mask: hash`, or remove `key`");
            }
            return None;
        }
        let is_one_reference =
            key.starts_with(secrets::MARK) && key.find('}') == Some(key.len() - 1);
        if !is_one_reference {
            // The text may be a key that was meant to be secret: it is not repeated.
            let message = "a `key` must be a secret, and nothing beside it".to_owned();
            let error = Error::new(Kind::JobInvalid, message)
                .at(self.document.locate_key(at))
                .hint("write `key: \"${SECRET:NAME}\"`");
            self.problems.push(error);
            return None;
        }
        let (hidden, refusals) = self.resolver.hide(key);
        for (part, Refusal { message, hint }) in refusals {
            let error = Error::new(Kind::JobInvalid, message)
                .at(self.document.locate_part(at, &part))
                .hint(hint);
            self.problems.push(error);
        }
        Some(hidden)
    }

    /// The column, and the placeholder of its mask's key.
    fn column(
        &mut self,
        index: usize,
        spec: ColumnSpec,
        classes: &BTreeMap<String, Class>,
    ) -> Option<(Column, Option<String>)> {
        let name = spec.name?;
        let kind = self.types.get(&name)?.clone()?;
        let required = spec.required.unwrap_or(false);
        let class = spec
            .classification
            .as_ref()
            .and_then(|name| classes.get(name));
        let (mask, key) = class.cloned().unwrap_or_default();
        let makes_nulls = match mask {
            Some(MaskSpec::Null) => Some("null"),
            Some(MaskSpec::Redact) if !matches!(kind, Type::String | Type::Json) => Some("redact"),
            _ => None,
        };
        if let (Some(mask), true) = (makes_nulls, required) {
            self.problem(
                &format!("/schema/{index}/classification"),
                format!(
                    "column `{name}` is required, and its class puts null into it (`mask: {mask}`)"
                ),
                "remove `required: true`, or give it a class with `mask: hash`",
            );
        }
        let column = Column {
            at: self.document.locate(&format!("/schema/{index}/name")),
            name,
            kind,
            required,
            classification: spec.classification,
            mask: mask.map(|mask| match mask {
                MaskSpec::Hash => Mask::Hash(None),
                MaskSpec::Null => Mask::Null,
                MaskSpec::Redact => Mask::Redact,
            }),
        };
        Some((column, key))
    }

    fn dataset(&mut self, spec: DatasetSpec) -> Dataset {
        let required_columns = spec.required_columns.unwrap_or_default();
        self.all_known("/dataset/required_columns", &required_columns);
        let RowsSpec { min, max } = spec.rows.unwrap_or(RowsSpec {
            min: None,
            max: None,
        });
        if let (Some(least), Some(most)) = (min, max)
            && least > most
        {
            let message = format!("`dataset.rows` wants at least {least} rows and at most {most}");
            self.problem("/dataset/rows/min", message, "swap `min` and `max`");
        }
        Dataset {
            required_columns,
            unknown_columns: match spec.unknown_columns {
                Some(UnknownSpec::Add) => Unknown::Add,
                Some(UnknownSpec::Ignore) => Unknown::Ignore,
                Some(UnknownSpec::Strict) | None => Unknown::Strict,
            },
            unique: spec.unique.and_then(|unique| self.unique(unique)),
            min_rows: min,
            max_rows: max,
            freshness: spec
                .freshness
                .and_then(|freshness| self.freshness(freshness)),
        }
    }

    fn unique(&mut self, spec: UniqueSpec) -> Option<Unique> {
        let columns = spec.columns?;
        self.all_known("/dataset/unique/columns", &columns);
        let memory_bytes = match &spec.memory {
            None => DEFAULT_KEY_MEMORY,
            Some(Size(value)) => {
                units::size(value, MIN_MEMORY_BYTES..=64 * GIB).unwrap_or_else(|must| {
                    let at = "/dataset/unique/memory";
                    self.problems
                        .push(value_problem(self.document, at, value, &must));
                    DEFAULT_KEY_MEMORY
                })
            }
        };
        Some(Unique {
            columns,
            memory_bytes,
        })
    }

    fn freshness(&mut self, spec: FreshnessSpec) -> Option<Freshness> {
        let at = "/dataset/freshness/column";
        let column = spec.column;
        if let Some(name) = &column {
            let is_known = self.known(at, name);
            let kind = self.types.get(name).cloned().flatten();
            let is_time = matches!(kind, None | Some(Type::Date | Type::Timestamp { .. }));
            if let (true, false, Some(kind)) = (is_known, is_time, kind) {
                self.problem(
                    at,
                    format!(
                        "`freshness` needs a date or timestamp, and column `{name}` is {}",
                        kind.with_article()
                    ),
                    "name another column, or change its type",
                );
            }
        }
        let max_age = spec.max_age?.0;
        match units::duration(&max_age, Duration::from_secs(1)..=YEAR * 100) {
            Ok(max_age) => Some(Freshness {
                column: column?,
                max_age,
            }),
            Err(must) => {
                let at = "/dataset/freshness/max_age";
                self.problems
                    .push(value_problem(self.document, at, &max_age, &must));
                None
            }
        }
    }

    /// A list of columns of this asset, each once.
    fn all_known(&mut self, at: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            let at = format!("{at}/{index}");
            self.known(&at, name);
            if names[..index].contains(name) {
                let message = format!("column `{name}` is listed twice");
                self.problem(&at, message, format!("keep one `{name}`"));
            }
        }
    }

    fn known(&mut self, at: &str, name: &str) -> bool {
        // Where columns could not be read, nothing can be said about their names.
        if self.types.contains_key(name) || was_refused(self.refused, "/schema") {
            return self.types.contains_key(name);
        }
        let mut names: Vec<&str> = self.types.keys().map(String::as_str).collect();
        names.sort_unstable();
        let hint = match nearest(name, &names) {
            Some(_) => suggestion(nearest(name, &names), &names),
            None => format!(
                "add it to `schema`, or name one of `{}`",
                names.join("`, `")
            ),
        };
        let message = format!("`{name}` is not a column of this asset");
        self.problem(at, message, hint);
        false
    }
}
