//! The bytes of a block that mean something, as bit sets. The only module that knows SIMD.

use crate::scan::Format;

/// Bytes in a block: the bits of a set.
pub const BLOCK: usize = 64;

/// Bit `i` stands for byte `i` of the block.
#[derive(Debug, PartialEq, Eq)]
pub struct Marks {
    pub delimiters: u64,
    /// Line feeds and carriage returns.
    pub line_ends: u64,
    /// And escape characters.
    pub quotes: u64,
    pub is_ascii: bool,
}

/// Marks of the first block of `text`, which may be shorter.
#[inline(always)]
pub fn marks(text: &[u8], format: Format) -> Marks {
    if let Some(block) = text.first_chunk::<BLOCK>() {
        return imp::marks(block, format);
    }
    // NUL is no mark: `config` refuses it as delimiter and quote.
    let mut padded = [0; BLOCK];
    padded[..text.len()].copy_from_slice(text);
    imp::marks(&padded, format)
}

/// Bit `i` is set where byte `i` of the first block of `text` is `wanted`.
#[inline(always)]
pub fn marks_of(text: &[u8], wanted: u8) -> u64 {
    if let Some(block) = text.first_chunk::<BLOCK>() {
        return imp::marks_of(block, wanted);
    }
    let mut padded = [!wanted; BLOCK];
    padded[..text.len()].copy_from_slice(text);
    imp::marks_of(&padded, wanted)
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod imp {
    use core::arch::wasm32::{
        i8x16_bitmask, u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2, v128, v128_or,
    };

    use super::{BLOCK, Marks};
    use crate::scan::Format;

    /// The optimiser makes one load of it.
    #[inline(always)]
    fn quarter(block: &[u8; BLOCK], index: usize) -> v128 {
        let (words, _) = block[index * 16..index * 16 + 16].as_chunks::<8>();
        u64x2(u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
    }

    #[inline(always)]
    fn joined(quarters: [v128; 4]) -> u64 {
        let [a, b, c, d] = quarters.map(|q| u64::from(u8x16_bitmask(q)));
        a | b << 16 | c << 32 | d << 48
    }

    #[inline(always)]
    pub fn marks(block: &[u8; BLOCK], format: Format) -> Marks {
        let quarters = [0, 1, 2, 3].map(|index| quarter(block, index));
        let (delimiter, lf, cr) = (
            u8x16_splat(format.delimiter),
            u8x16_splat(b'\n'),
            u8x16_splat(b'\r'),
        );
        let delimiters = joined(quarters.map(|q| u8x16_eq(q, delimiter)));
        let line_ends = joined(quarters.map(|q| v128_or(u8x16_eq(q, lf), u8x16_eq(q, cr))));
        let mark = |mark: Option<u8>| match mark {
            Some(byte) => joined(quarters.map(|q| u8x16_eq(q, u8x16_splat(byte)))),
            None => 0,
        };
        let quotes = mark(format.quote) | mark(format.escape);
        let [a, b, c, d] = quarters;
        let high = i8x16_bitmask(v128_or(v128_or(a, b), v128_or(c, d)));
        Marks {
            delimiters,
            line_ends,
            quotes,
            is_ascii: high == 0,
        }
    }

    #[inline(always)]
    pub fn marks_of(block: &[u8; BLOCK], wanted: u8) -> u64 {
        let wanted = u8x16_splat(wanted);
        joined([0, 1, 2, 3].map(|index| u8x16_eq(quarter(block, index), wanted)))
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod imp {
    use super::{BLOCK, Marks};
    use crate::scan::Format;

    #[inline(always)]
    fn set(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
        block
            .iter()
            .rev()
            .fold(0, |bits, byte| bits << 1 | u64::from(is(*byte)))
    }

    #[inline(always)]
    pub fn marks(block: &[u8; BLOCK], format: Format) -> Marks {
        Marks {
            delimiters: marks_of(block, format.delimiter),
            line_ends: set(block, |b| b == b'\n' || b == b'\r'),
            quotes: format.quote.map_or(0, |quote| marks_of(block, quote))
                | format.escape.map_or(0, |escape| marks_of(block, escape)),
            is_ascii: block.is_ascii(),
        }
    }

    #[inline(always)]
    pub fn marks_of(block: &[u8; BLOCK], wanted: u8) -> u64 {
        set(block, |b| b == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_every_byte_of_a_block_and_nothing_behind_its_end() {
        let format = Format {
            delimiter: b'|',
            quote: Some(b'"'),
            escape: Some(b'\\'),
        };
        for length in 1..=BLOCK {
            let mut text = vec![b'x'; length];
            for byte in *b"|\n\r\"\\" {
                text[length - 1] = byte;
                let bit = 1 << (length - 1);
                let expected = match byte {
                    b'|' => (bit, 0, 0),
                    b'\n' | b'\r' => (0, bit, 0),
                    _ => (0, 0, bit),
                };
                let found = marks(&text, format);
                assert_eq!((found.delimiters, found.line_ends, found.quotes), expected);
                assert!(found.is_ascii);
                assert_eq!(marks_of(&text, byte), bit);
            }
            text[length - 1] = 0xff;
            assert!(!marks(&text, format).is_ascii);
            assert_eq!(marks_of(&text, 0xff), 1 << (length - 1));
        }
    }
}
