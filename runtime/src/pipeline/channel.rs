//! The channel between the reader and the writer of a split: bounded by bytes, since a reader may make batches of
//! any size.

use std::sync::Arc;

use arrow::compute::concat_batches;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::data::{Batch, batch_bytes};

/// What may wait, in bytes; a larger batch waits alone.
///
/// A writer that ends a row group is busy for as long as some batches take to read. Few are enough to bridge that,
/// and more would only hold memory.
const WAITING_BYTES: u32 = 4 << 20;

/// Smaller batches are put together until they have this many rows or bytes: each one costs the way to the writer, and
/// every column some work of its own. An API of a hundred records a page yields ten thousand of them in a million rows.
const TOGETHER_ROWS: usize = 8192;
const TOGETHER_BYTES: u64 = 1 << 20;

/// No batch is put together of more than `max_rows`.
pub fn channel(max_rows: u32) -> (Sender, Receiver) {
    let (to, from) = mpsc::unbounded_channel();
    let sender = Sender {
        to,
        room: Arc::new(Semaphore::new(WAITING_BYTES as usize)),
        small: Vec::new(),
        rows: 0,
        bytes: 0,
        together_rows: TOGETHER_ROWS.min(max_rows as usize),
    };
    (sender, Receiver(from))
}

pub struct Sender {
    to: mpsc::UnboundedSender<(Batch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    /// Batches that wait for others, with all their rows and bytes.
    small: Vec<Batch>,
    rows: usize,
    bytes: u64,
    together_rows: usize,
}

pub struct Receiver(mpsc::UnboundedReceiver<(Batch, OwnedSemaphorePermit)>);

/// The writer ended first.
pub struct Closed;

impl Sender {
    /// Sends a batch, or keeps it for [`flush`](Self::flush) or the next one.
    pub async fn send(&mut self, batch: Batch) -> Result<(), Closed> {
        let bytes = batch_bytes(&batch);
        if self.rows + batch.num_rows() > self.together_rows {
            self.flush().await?;
        }
        if batch.num_rows() >= self.together_rows || bytes >= TOGETHER_BYTES {
            self.flush().await?;
            return self.send_now(batch).await;
        }
        self.rows += batch.num_rows();
        self.bytes += bytes;
        self.small.push(batch);
        match self.bytes >= TOGETHER_BYTES {
            true => self.flush().await,
            false if self.to.is_closed() => Err(Closed),
            false => Ok(()),
        }
    }

    /// Sends what was kept. After the last batch.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        (self.rows, self.bytes) = (0, 0);
        let mut small = std::mem::take(&mut self.small);
        let together = match small.as_slice() {
            [] => return Ok(()),
            [_] => None,
            [first, ..] => concat_batches(&first.schema(), &small).ok(),
        };
        // Those that cannot be one, such as texts of more than 2 GiB together, stay what they are.
        if let Some(together) = together {
            small = vec![together];
        }
        for batch in small {
            self.send_now(batch).await?;
        }
        Ok(())
    }

    async fn send_now(&self, batch: Batch) -> Result<(), Closed> {
        let bytes = u32::try_from(batch_bytes(&batch)).unwrap_or(u32::MAX);
        let bytes = bytes.clamp(1, WAITING_BYTES);
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let room = room.map_err(|_| Closed)?;
        self.to.send((batch, room)).map_err(|_| Closed)
    }
}

impl Receiver {
    /// The next batch; none where the reader is gone.
    pub async fn next(&mut self) -> Option<Batch> {
        self.0.recv().await.map(|(batch, _room)| batch)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array};
    use tokio::time::timeout;

    use super::*;

    fn batch(bytes: usize) -> Batch {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7; bytes / 8]));
        Batch::try_from_iter([("n", values)]).unwrap()
    }

    async fn waits(sender: &mut Sender, bytes: usize) -> bool {
        let sent = timeout(Duration::from_millis(20), sender.send(batch(bytes))).await;
        sent.is_err()
    }

    #[tokio::test]
    async fn a_sender_waits_for_room_and_a_large_batch_for_all_of_it() {
        let (mut sender, mut receiver) = channel(1 << 20);
        for _ in 0..4 {
            assert!(!waits(&mut sender, 1 << 20).await);
        }
        assert!(waits(&mut sender, 1 << 20).await);
        assert!(receiver.next().await.is_some());
        assert!(waits(&mut sender, 64 << 20).await, "something waits still");
        for _ in 0..3 {
            assert!(receiver.next().await.is_some());
        }
        assert!(!waits(&mut sender, 64 << 20).await);
        assert!(waits(&mut sender, 1 << 20).await);
        drop(sender);
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());
    }

    #[tokio::test]
    async fn a_sender_does_not_wait_for_a_writer_that_is_gone() {
        let (mut sender, receiver) = channel(1 << 20);
        assert!(!waits(&mut sender, 64 << 20).await);
        drop(receiver);
        assert!(sender.send(batch(8)).await.is_err());
    }

    fn rows(receiver: &mut Receiver) -> Vec<usize> {
        std::iter::from_fn(|| {
            receiver
                .0
                .try_recv()
                .ok()
                .map(|(batch, _room)| batch.num_rows())
        })
        .collect()
    }

    #[tokio::test]
    async fn small_batches_arrive_together_in_order_and_within_what_the_job_allows() {
        let (mut sender, mut receiver) = channel(10);
        for number in 0..7i64 {
            let values: ArrayRef = Arc::new(Int64Array::from(vec![number; 3]));
            let batch = Batch::try_from_iter([("n", values)]).unwrap();
            assert!(sender.send(batch).await.is_ok());
        }
        // The last three wait for others.
        assert_eq!(rows(&mut receiver), [9, 9]);
        // One that is large enough is not copied, and does not overtake.
        assert!(sender.send(batch(80)).await.is_ok());
        assert_eq!(rows(&mut receiver), [3, 10]);
        assert!(sender.send(batch(8)).await.is_ok());
        assert!(sender.flush().await.is_ok() && sender.flush().await.is_ok());
        assert_eq!(rows(&mut receiver), [1]);
    }
}
