//! Cells of one column to an array of its type: exact, or refused.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanBuilder, PrimitiveArray, PrimitiveBuilder, StringBuilder,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use super::columns::Type;
use super::nested::{Builder, Fault, NULL};
use super::tape::{Kind, Node};
use super::text::{unescape, unescape_into};
use super::{number, time};

type Built<T> = Result<T, Fault>;

impl Builder<'_> {
    /// An array of a type that is neither list nor struct.
    pub fn scalars(&self, kind: &Type, cells: &[u32]) -> Built<ArrayRef> {
        Ok(match kind {
            Type::Bool => self.booleans(cells)?,
            Type::Int32 => {
                self.numbers::<Int32Type>(kind, cells, |text| number::int64(text)?.try_into().ok())?
            }
            Type::Int64 => self.numbers::<Int64Type>(kind, cells, number::int64)?,
            Type::Float64 => self.numbers::<Float64Type>(kind, cells, number::float)?,
            Type::Number => self.numbers::<Float64Type>(kind, cells, number::exact_float)?,
            Type::Decimal { precision, scale } => self.decimals(kind, cells, *precision, *scale)?,
            Type::Date => self.times::<Date32Type>(kind, cells, time::date)?,
            Type::Timestamp => {
                self.times::<TimestampMicrosecondType>(kind, cells, time::timestamp)?
            }
            Type::TimestampTz => {
                self.times::<TimestampMicrosecondType>(kind, cells, time::timestamptz)?
            }
            Type::String => self.texts(cells)?,
            Type::Json | Type::Null | Type::List(_) | Type::Struct(_) => self.json(cells)?,
        })
    }

    fn booleans(&self, cells: &[u32]) -> Built<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(cells.len());
        for (row, cell) in cells.iter().enumerate() {
            match (*cell, self.document.node(*cell).kind()) {
                (NULL, _) => builder.append_null(),
                (_, Kind::True) => builder.append_value(true),
                (_, Kind::False) => builder.append_value(false),
                _ => return Err(self.fault(row, *cell, &Type::Bool)),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    fn numbers<T: ArrowPrimitiveType>(
        &self,
        kind: &Type,
        cells: &[u32],
        read: impl Fn(&str) -> Option<T::Native>,
    ) -> Built<ArrayRef> {
        let array = self.primitives::<T>(kind, cells, |node| match node.kind() {
            Kind::Number => read(self.document.scalar(node)),
            _ => None,
        });
        Ok(Arc::new(array?))
    }

    /// Of numbers, and of texts that are one: as such an API writes what a float would not hold.
    fn decimals(&self, kind: &Type, cells: &[u32], precision: u8, scale: i8) -> Built<ArrayRef> {
        let array = self.primitives::<Decimal128Type>(kind, cells, |node| {
            let text = self.document.scalar(node);
            match node.kind() {
                Kind::Number => number::decimal(text, precision, scale),
                Kind::Text if number::is_number(text) => number::decimal(text, precision, scale),
                _ => None,
            }
        })?;
        Ok(Arc::new(array.with_data_type(kind.arrow())))
    }

    fn times<T: ArrowPrimitiveType>(
        &self,
        kind: &Type,
        cells: &[u32],
        read: impl Fn(&str) -> Option<T::Native>,
    ) -> Built<ArrayRef> {
        let array = self.primitives::<T>(kind, cells, |node| match node.kind() {
            Kind::Text => read(self.document.scalar(node)),
            Kind::Escaped => read(&unescape(self.document.scalar(node))),
            _ => None,
        })?;
        Ok(Arc::new(array.with_data_type(kind.arrow())))
    }

    fn primitives<T: ArrowPrimitiveType>(
        &self,
        kind: &Type,
        cells: &[u32],
        read: impl Fn(Node) -> Option<T::Native>,
    ) -> Built<PrimitiveArray<T>> {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(cells.len());
        for (row, cell) in cells.iter().enumerate() {
            if *cell == NULL {
                builder.append_null();
                continue;
            }
            match read(self.document.node(*cell)) {
                Some(value) => builder.append_value(value),
                None => return Err(self.fault(row, *cell, kind)),
            }
        }
        Ok(builder.finish())
    }

    fn texts(&self, cells: &[u32]) -> Built<ArrayRef> {
        let mut builder = self.text_builder(cells)?;
        let mut unescaped = String::new();
        for (row, cell) in cells.iter().enumerate() {
            if *cell == NULL {
                builder.append_null();
                continue;
            }
            let node = self.document.node(*cell);
            let text = self.document.scalar(node);
            match node.kind() {
                Kind::Escaped => {
                    unescaped.clear();
                    unescape_into(text, &mut unescaped);
                    builder.append_value(&unescaped);
                }
                Kind::Array | Kind::Object => {
                    return Err(self.fault(row, *cell, &Type::String));
                }
                _ => builder.append_value(text),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    fn json(&self, cells: &[u32]) -> Built<ArrayRef> {
        let mut builder = self.text_builder(cells)?;
        for cell in cells {
            match *cell {
                NULL => builder.append_null(),
                cell => builder.append_value(self.document.value(cell).raw()),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// With room for the cells as they are written.
    fn text_builder(&self, cells: &[u32]) -> Built<StringBuilder> {
        let written = cells.iter().filter(|cell| **cell != NULL);
        let bytes = written
            .map(|cell| self.document.value(*cell).raw_len())
            .sum();
        self.charge(bytes, 1)?;
        Ok(StringBuilder::with_capacity(cells.len(), bytes))
    }

    fn fault(&self, row: usize, cell: u32, wanted: &Type) -> Fault {
        Fault::value(row, self.document.value(cell), wanted)
    }
}
