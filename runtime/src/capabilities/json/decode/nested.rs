//! Objects and lists to Arrow: which cells belong to which column, and where a value was that does not fit.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};

use super::Refusal;
use super::columns::{Columns, Type};
use super::rows::NewFields;
use super::tape::{Document, Kind, Value};
use super::text::{is_same, shown};

/// What a cell takes, in bytes: its place in the tape, and its value of a fixed size.
const CELL_BYTES: u64 = 12;

/// A cell is a place in the tape; this one, which is never a cell's, stands for null.
pub(super) const NULL: u32 = 0;

pub(super) struct Builder<'a> {
    pub document: &'a Document<'a>,
    new_fields: NewFields,
    /// Bytes that may still be taken.
    left: Cell<u64>,
}

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Fault {
    /// Which of the cells it is.
    pub row: usize,
    /// From the inside out.
    path: Vec<Step>,
    what: What,
}

#[derive(Debug)]
enum Step {
    Name(String),
    Index(usize),
}

#[derive(Debug)]
enum What {
    /// What is wrong, and the type that would take it.
    Value {
        problem: String,
        remedy: &'static str,
    },
    NewField,
    Memory,
}

impl Fault {
    fn new(row: usize, what: What) -> Self {
        Self {
            row,
            path: Vec::new(),
            what,
        }
    }

    pub fn value(row: usize, value: Value<'_>, wanted: &Type) -> Self {
        let problem = format!("`{}` is not {}", shown(&value.raw()), wanted.with_article());
        let remedy = match (value.kind(), wanted) {
            (Kind::Array | Kind::Object, _) | (_, Type::List(_) | Type::Struct(_)) => "json",
            (Kind::Number, Type::Int32) if super::number::int64(&value.text()).is_some() => "int64",
            (Kind::Number, Type::Int32 | Type::Int64)
                if !super::number::is_integer(&value.text())
                    && super::number::exact_float(&value.text()).is_some() =>
            {
                "number"
            }
            _ => "string",
        };
        Self::new(row, What::Value { problem, remedy })
    }

    fn inside(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// `places` says which record of the list each row is.
    pub fn refusal(self, places: &[usize]) -> Refusal {
        let record = places.get(self.row).map_or(0, |place| place + 1);
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Name(name) if path.is_empty() => path += &shown(name),
                Step::Name(name) => path += &format!(".{}", shown(name)),
                Step::Index(index) => path += &format!("[{index}]"),
            }
        }
        match self.what {
            What::Value { problem, remedy } => {
                let written = self.path.iter().fold(remedy.to_owned(), |inside, step| match step {
                    Step::Name(name) => format!("{{ {}: {inside} }}", shown(name)),
                    Step::Index(_) => format!("[{inside}]"),
                });
                Refusal::data(format!("record {record}: column `{path}`: {problem}"))
                    .hint(format!("say what it is in `schema`: `{written}`"))
            }
            What::NewField => Refusal::data(format!("record {record}: `{path}` is no column")).hint(
                "name it in `schema`, look at more records with `infer_records`, or set `new_fields: ignore`",
            ),
            What::Memory => Refusal::limit("the records take more memory than is left as columns")
                .hint("ask for smaller pages, or raise `limits: { memory: ... }`"),
        }
    }
}

type Built<T> = Result<T, Fault>;

impl<'a> Builder<'a> {
    /// For the values of the document that `value` is of.
    pub fn new(value: Value<'a>, new_fields: NewFields, max_bytes: u64) -> Self {
        Self {
            document: value.document(),
            new_fields,
            left: Cell::new(max_bytes),
        }
    }

    /// Takes the memory of `count` values.
    pub fn charge(&self, count: usize, bytes: u64) -> Built<()> {
        let wanted = (count as u64).saturating_mul(bytes);
        match self.left.get().checked_sub(wanted) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(Fault::new(0, What::Memory)),
        }
    }

    /// One array for each column, of cells that are objects or null.
    pub fn columns(&self, columns: &Columns, objects: &[u32]) -> Built<Vec<ArrayRef>> {
        self.charge(
            columns.0.len(),
            CELL_BYTES.saturating_mul(objects.len() as u64),
        )?;
        let cells = self.take_apart(columns, objects)?;
        let named = columns.0.iter().zip(&cells);
        named
            .map(|((name, kind), cells)| {
                let array = self.array(kind, cells);
                array.map_err(|fault| fault.inside(Step::Name(name.clone())))
            })
            .collect()
    }

    fn array(&self, kind: &Type, cells: &[u32]) -> Built<ArrayRef> {
        match kind {
            Type::List(element) => self.list(element, cells),
            Type::Struct(columns) => self.structs(columns, cells),
            scalar => self.scalars(scalar, cells),
        }
    }

    /// The cells of each column.
    fn take_apart(&self, columns: &Columns, objects: &[u32]) -> Built<Vec<Vec<u32>>> {
        let names: Vec<&str> = columns.0.iter().map(|(name, _)| name.as_str()).collect();
        let places: HashMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(place, name)| (*name, place))
            .collect();
        let mut cells = vec![vec![NULL; objects.len()]; names.len()];
        for (row, object) in objects
            .iter()
            .enumerate()
            .filter(|(_, object)| **object != NULL)
        {
            // Objects of a list mostly have the same keys in the same order.
            let mut expected = 0;
            for (key, value) in self.document.value(*object).members() {
                let name = key.text();
                let place = match names.get(expected) {
                    Some(own) if is_same(own.as_bytes(), name.as_bytes()) => Some(expected),
                    _ => places.get(name.as_ref()).copied(),
                };
                match place.and_then(|place| Some((place, cells.get_mut(place)?.get_mut(row)?))) {
                    Some((place, cell)) => {
                        expected = place + 1;
                        if !value.is_null() {
                            *cell = value.at;
                        }
                    }
                    None if self.new_fields == NewFields::Ignore => {}
                    None => {
                        let fault = Fault::new(row, What::NewField);
                        return Err(fault.inside(Step::Name(name.into_owned())));
                    }
                }
            }
        }
        Ok(cells)
    }

    fn structs(&self, columns: &Columns, cells: &[u32]) -> Built<ArrayRef> {
        let wanted = || Type::Struct(columns.clone());
        self.check_kind(cells, Kind::Object, wanted)?;
        let arrays = self.columns(columns, cells)?;
        let array = StructArray::new(columns.fields(), arrays, validity(cells));
        Ok(Arc::new(array))
    }

    fn list(&self, element: &Type, cells: &[u32]) -> Built<ArrayRef> {
        let wanted = || Type::List(Box::new(element.clone()));
        self.check_kind(cells, Kind::Array, wanted)?;
        let counts = cells.iter().map(|cell| match *cell {
            NULL => 0,
            cell => self.document.count(cell) as usize,
        });
        let offsets = OffsetBuffer::<i32>::from_lengths(counts);
        let total = offsets.last().copied().unwrap_or_default();
        self.charge(total as usize, CELL_BYTES)?;
        let mut elements = Vec::with_capacity(total as usize);
        for cell in cells.iter().filter(|cell| **cell != NULL) {
            let values = self.document.value(*cell).elements();
            elements.extend(values.map(|value| if value.is_null() { NULL } else { value.at }));
        }
        let array = self.array(element, &elements).map_err(|fault| {
            let row = offsets.partition_point(|offset| *offset as usize <= fault.row) - 1;
            let index = fault.row - offsets[row] as usize;
            Fault { row, ..fault }.inside(Step::Index(index))
        })?;
        let field = Arc::new(element.field("item"));
        Ok(Arc::new(ListArray::new(
            field,
            offsets,
            array,
            validity(cells),
        )))
    }

    fn check_kind(&self, cells: &[u32], kind: Kind, wanted: impl Fn() -> Type) -> Built<()> {
        let is_other = |cell: &u32| *cell != NULL && self.document.node(*cell).kind() != kind;
        match cells.iter().position(is_other) {
            Some(row) => Err(Fault::value(
                row,
                self.document.value(cells[row]),
                &wanted(),
            )),
            None => Ok(()),
        }
    }
}

fn validity(cells: &[u32]) -> Option<NullBuffer> {
    let valid = NullBuffer::from_iter(cells.iter().map(|cell| *cell != NULL));
    Some(valid).filter(|valid| valid.null_count() > 0)
}
