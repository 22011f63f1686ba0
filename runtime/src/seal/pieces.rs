//! Cuts a stream into pieces of one size, and keeps what is less than a piece.

use zeroize::Zeroizing;

use super::Result;

pub struct Pieces {
    size: usize,
    /// Less than a piece. Plaintext where a sealer holds it.
    held: Zeroizing<Vec<u8>>,
}

impl Pieces {
    pub fn new(size: usize) -> Self {
        // In full, so that it never moves and leaves a copy behind.
        let held = Zeroizing::new(Vec::with_capacity(size));
        Self { size, held }
    }

    /// Takes `input`. `each` gets every whole piece, without a copy where it can.
    pub fn feed(&mut self, input: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut rest = input;
        if !self.held.is_empty() {
            let (start, end) = rest.split_at(rest.len().min(self.size - self.held.len()));
            self.held.extend_from_slice(start);
            if self.held.len() < self.size {
                return Ok(());
            }
            each(&self.held)?;
            self.held.clear();
            rest = end;
        }
        let pieces = rest.chunks_exact(self.size);
        self.held.extend_from_slice(pieces.remainder());
        pieces.into_iter().try_for_each(each)
    }

    /// What is left at the end, less than a piece.
    pub fn last(self) -> Zeroizing<Vec<u8>> {
        self.held
    }
}
