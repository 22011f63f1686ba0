//! How much host memory a batch keeps alive.
//!
//! Arrow's own measure adds up the whole allocation behind each buffer. The columns of a batch that came as IPC
//! all lie in one allocation, so that measure is too high by the number of buffers.

use std::collections::HashMap;

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::buffer::Buffer;

/// In bytes; each allocation counts once.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let mut allocations = HashMap::new();
    for column in batch.columns() {
        add(&column.to_data(), &mut allocations);
    }
    allocations.values().sum()
}

fn add(data: &ArrayData, allocations: &mut HashMap<usize, usize>) {
    let mut add_buffer = |buffer: &Buffer| {
        allocations.insert(buffer.data_ptr().as_ptr().addr(), buffer.capacity());
    };
    data.buffers().iter().for_each(&mut add_buffer);
    if let Some(nulls) = data.nulls() {
        add_buffer(nulls.buffer());
    }
    for child in data.child_data() {
        add(child, allocations);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn an_allocation_that_two_columns_share_counts_once() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7; 1000]));
        let one = RecordBatch::try_from_iter([("a", values.clone())]).unwrap();
        let shared = RecordBatch::try_from_iter([("a", values.clone()), ("b", values)]).unwrap();
        assert!(batch_bytes(&one) >= 8000);
        assert_eq!(batch_bytes(&shared), batch_bytes(&one));
    }
}
