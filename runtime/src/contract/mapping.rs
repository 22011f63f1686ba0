//! A contract held against the schema of a source, column by column, before any data moves.
//!
//! Pure: schemas in, a mapping or every refusal out.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use serde::Serialize;

use super::convert::{self, Conversion};
use super::{Column, Contract, Mode, REASON_COLUMN, Unknown};
use crate::error::{Error, Kind};

/// How each column of the target comes from the source.
#[derive(Debug)]
pub struct Mapping {
    pub contract: Arc<Contract>,
    /// What the writer gets, masks applied: the contract's columns, then added ones.
    pub output: SchemaRef,
    /// For plans and checks, in the order of the output; what is left out comes last.
    pub lines: Vec<Line>,
    /// What is remarkable and no refusal.
    pub warnings: Vec<String>,
    pub(super) columns: Vec<Planned>,
}

/// One column, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub column: String,
    /// What the source has, as Arrow names it; none where it lacks the column.
    pub source: Option<String>,
    /// What the contract says; none for a column that it does not have.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub how: How,
    pub required: bool,
    pub classification: Option<String>,
    pub mask: Option<&'static str>,
}

/// What happens to a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Same,
    /// Converted value by value; what does not fit exactly is refused.
    Converted,
    /// The source lacks it.
    FilledWithNull,
    /// Not in the contract and passed on.
    Added,
    /// Not in the contract and not passed on.
    LeftOut,
}

impl How {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            How::Same => "same",
            How::Converted => "checked conversion",
            How::FilledWithNull => "filled with null",
            How::Added => "added",
            How::LeftOut => "left out",
        }
    }
}

/// Where one column of the output comes from.
#[derive(Debug)]
pub(super) struct Planned {
    /// Before the mask.
    pub field: FieldRef,
    pub origin: Origin,
    /// Its place in the contract; none for an added column.
    pub column: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Origin {
    /// The source's column with this index.
    Source(usize, Conversion),
    Nulls,
}

impl Mapping {
    /// Maps `source` to the contract, or says everything that stands in the way.
    pub fn new(contract: &Arc<Contract>, source: &Schema) -> Result<Self, Vec<Error>> {
        let mut draft = Draft {
            contract,
            source,
            problems: Vec::new(),
            lines: Vec::new(),
            columns: Vec::new(),
        };
        for (index, column) in contract.columns.iter().enumerate() {
            draft.column(index, column);
        }
        let warnings = draft.unknown_columns();
        if contract.mode == Mode::Warn && source.column_with_name(REASON_COLUMN).is_some() {
            let message = format!(
                "the source has a column `{REASON_COLUMN}`, which is the dead letter's own"
            );
            draft.problems.push(
                Error::new(Kind::ContractBroken, message).hint("rename the column at the source"),
            );
        }
        if !draft.problems.is_empty() {
            return Err(draft.problems);
        }
        let masked = |planned: &Planned| {
            let column = planned.column.and_then(|index| contract.columns.get(index));
            match column.and_then(|column| column.mask.as_ref()) {
                Some(mask) => mask.field(&planned.field),
                None => planned.field.clone(),
            }
        };
        let output: Vec<FieldRef> = draft.columns.iter().map(masked).collect();
        Ok(Self {
            contract: contract.clone(),
            output: Schema::new(output).into(),
            lines: draft.lines,
            warnings,
            columns: draft.columns,
        })
    }
}

struct Draft<'a> {
    contract: &'a Contract,
    source: &'a Schema,
    problems: Vec<Error>,
    lines: Vec<Line>,
    columns: Vec<Planned>,
}

impl Draft<'_> {
    fn column(&mut self, index: usize, column: &Column) {
        let field = Arc::new(column.kind.field(&column.name, !column.required));
        let found = self.source.column_with_name(&column.name);
        let (how, origin) = match found {
            None => {
                if !self.may_be_missing(column) {
                    return;
                }
                (How::FilledWithNull, Origin::Nulls)
            }
            Some((at, from)) => match convert::plan(from.data_type(), &column.kind) {
                None => {
                    let problem = self.not_exact(column, from.data_type());
                    self.problems.push(problem);
                    return;
                }
                Some(Conversion::Same) => (How::Same, Origin::Source(at, Conversion::Same)),
                Some(conversion) => (How::Converted, Origin::Source(at, conversion)),
            },
        };
        self.lines.push(Line {
            column: column.name.clone(),
            source: found.map(|(_, field)| field.data_type().to_string()),
            kind: Some(column.kind.to_string()),
            how,
            required: column.required,
            classification: column.classification.clone(),
            mask: column.mask.as_ref().map(|mask| mask.describe()),
        });
        self.columns.push(Planned {
            field,
            origin,
            column: Some(index),
        });
    }

    fn may_be_missing(&mut self, column: &Column) -> bool {
        let name = &self.contract.name;
        let listed = self
            .contract
            .dataset
            .required_columns
            .contains(&column.name);
        if !column.required && !listed {
            return true;
        }
        let message = format!(
            "contract `{name}` requires column `{}`, which the source does not have",
            column.name
        );
        let has: Vec<&str> = self
            .source
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let hint = match crate::job::nearest(&column.name, &has) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if column.required => format!(
                "add the column to the source, or remove `required: true` from `{}`",
                column.name
            ),
            None => format!(
                "add the column to the source, or remove `{}` from `dataset.required_columns`",
                column.name
            ),
        };
        self.problems.push(
            Error::new(Kind::ContractBroken, message)
                .at(column.at.clone())
                .hint(hint),
        );
        false
    }

    fn not_exact(&self, column: &Column, from: &DataType) -> Error {
        let message = format!(
            "column `{}` of contract `{}` is {}, and {from} of the source does not convert to it exactly",
            column.name,
            self.contract.name,
            column.kind.with_article()
        );
        Error::new(Kind::ContractBroken, message)
            .at(column.at.clone())
            .hint(format!(
                "declare the type at the reader, such as `schema: [{{ name: {}, type: {} }}]` in its config; a `string` is read exactly too",
                column.name, column.kind
            ))
    }

    /// Applies the policy to what only the source has. Gives the warnings.
    fn unknown_columns(&mut self) -> Vec<String> {
        let contract = self.contract;
        let known: HashSet<&String> = contract.columns.iter().map(|column| &column.name).collect();
        let mut seen = HashSet::new();
        let mut left_out = Vec::new();
        for (at, field) in self.source.fields().iter().enumerate() {
            if !seen.insert(field.name()) {
                let message = format!("the source has column `{}` twice", field.name());
                let problem = Error::new(Kind::ContractBroken, message);
                self.problems
                    .push(problem.hint("give the columns of the source different names"));
                continue;
            }
            if known.contains(field.name()) {
                continue;
            }
            let how = match (contract.dataset.unknown_columns, contract.mode) {
                (Unknown::Add, _) => How::Added,
                (Unknown::Ignore, _) => How::LeftOut,
                (Unknown::Strict, Mode::Warn) => {
                    left_out.push(field.name().as_str());
                    How::LeftOut
                }
                (Unknown::Strict, Mode::Strict) => {
                    let names: Vec<&str> = contract
                        .columns
                        .iter()
                        .map(|column| column.name.as_str())
                        .collect();
                    let hint = match crate::job::nearest(field.name(), &names) {
                        Some(nearest) => format!("did you mean `{nearest}`?"),
                        None => format!(
                            "add `{{ name: {}, type: ... }}` to the contract, or set `dataset: {{ unknown_columns: ignore }}`",
                            field.name()
                        ),
                    };
                    let message = format!(
                        "the source has a column `{}`, which contract `{}` does not know",
                        field.name(),
                        contract.name
                    );
                    self.problems
                        .push(Error::new(Kind::ContractBroken, message).hint(hint));
                    continue;
                }
            };
            self.lines.push(Line {
                column: field.name().clone(),
                source: Some(field.data_type().to_string()),
                kind: None,
                how,
                required: false,
                classification: None,
                mask: None,
            });
            if how == How::Added {
                self.columns.push(Planned {
                    field: field.clone(),
                    origin: Origin::Source(at, Conversion::Same),
                    column: None,
                });
            }
        }
        // What is left out stands last, whatever was added after it.
        self.lines.sort_by_key(|line| line.how == How::LeftOut);
        match left_out.as_slice() {
            [] => Vec::new(),
            names => vec![format!(
                "contract `{}` does not know `{}` of the source: left out",
                contract.name,
                names.join("`, `")
            )],
        }
    }
}
