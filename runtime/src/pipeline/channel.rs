//! The channel between the reader and the writer of a split: bounded by bytes, since a reader may make batches of
//! any size.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::data::{Batch, batch_bytes};

/// What may wait, in bytes; a larger batch waits alone.
///
/// A writer that ends a row group is busy for as long as some batches take to read. Few are enough to bridge that,
/// and more would only hold memory.
const WAITING_BYTES: u32 = 4 << 20;

pub fn channel() -> (Sender, Receiver) {
    let (to, from) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(WAITING_BYTES as usize));
    (Sender { to, room }, Receiver(from))
}

pub struct Sender {
    to: mpsc::UnboundedSender<(Batch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

pub struct Receiver(mpsc::UnboundedReceiver<(Batch, OwnedSemaphorePermit)>);

/// The writer ended first.
pub struct Closed;

impl Sender {
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
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

    async fn waits(sender: &Sender, bytes: usize) -> bool {
        let sent = timeout(Duration::from_millis(20), sender.send(batch(bytes))).await;
        sent.is_err()
    }

    #[tokio::test]
    async fn a_sender_waits_for_room_and_a_large_batch_for_all_of_it() {
        let (sender, mut receiver) = channel();
        for _ in 0..4 {
            assert!(!waits(&sender, 1 << 20).await);
        }
        assert!(waits(&sender, 1 << 20).await);
        assert!(receiver.next().await.is_some());
        assert!(waits(&sender, 64 << 20).await, "something waits still");
        for _ in 0..3 {
            assert!(receiver.next().await.is_some());
        }
        assert!(!waits(&sender, 64 << 20).await);
        assert!(waits(&sender, 8).await);
        drop(sender);
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());
    }

    #[tokio::test]
    async fn a_sender_does_not_wait_for_a_writer_that_is_gone() {
        let (sender, receiver) = channel();
        assert!(!waits(&sender, 64 << 20).await);
        drop(receiver);
        assert!(sender.send(batch(8)).await.is_err());
    }
}
