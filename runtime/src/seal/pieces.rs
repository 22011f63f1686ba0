//! Cuts a stream into pieces of one size and keeps the last one back, since only the end of the stream shows which it is.

use zeroize::Zeroizing;

use super::Result;

pub struct Pieces {
    size: usize,
    /// At most one piece; not empty once a byte came. Plaintext where a sealer holds it.
    held: Zeroizing<Vec<u8>>,
}

impl Pieces {
    pub fn new(size: usize) -> Self {
        // In full, so that it never moves and leaves a copy behind.
        let held = Zeroizing::new(Vec::with_capacity(size));
        Self { size, held }
    }

    /// Takes `input`. `each` gets every whole piece that is known not to be the last, without a copy where it can.
    pub fn feed(&mut self, input: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = input;
        if !self.held.is_empty() {
            let (start, end) = rest.split_at(rest.len().min(self.size - self.held.len()));
            self.held.extend_from_slice(start);
            if end.is_empty() {
                return Ok(());
            }
            each(&self.held)?;
            self.held.clear();
            rest = end;
        }
        while rest.len() > self.size {
            let (piece, end) = rest.split_at(self.size);
            each(piece)?;
            rest = end;
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// The last piece: empty only where nothing came at all.
    pub fn last(self) -> Zeroizing<Vec<u8>> {
        self.held
    }
}
