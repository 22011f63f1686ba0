//! Texts of JSON: their end, their escapes, and how they are shown in messages.

/// The characters of a value that a message shows.
const SHOWN_CHARS: usize = 60;

/// `left == right`, for keys: mostly short, and equal. Calling out to compare a few bytes costs more than comparing them.
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    fn ends<const N: usize>(left: &[u8], right: &[u8]) -> bool {
        left.first_chunk::<N>() == right.first_chunk::<N>()
            && left.last_chunk::<N>() == right.last_chunk::<N>()
    }
    left.len() == right.len()
        && match left.len() {
            0..4 => left.iter().eq(right),
            4..8 => ends::<4>(left, right),
            8..=16 => ends::<8>(left, right),
            _ => left == right,
        }
}

/// Why a text is none, and the byte.
pub(super) struct BadText {
    pub at: usize,
    pub what: &'static str,
}

/// Finds the end of the text that begins at `at`, behind its quote: where its last quote is, and whether there are
/// escapes. `bytes` are UTF-8.
pub(super) fn scan(bytes: &[u8], mut at: usize) -> Result<(usize, bool), BadText> {
    let mut is_escaped = false;
    loop {
        while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let found = special(u64::from_le_bytes(*chunk));
            at += (found.trailing_zeros() / 8) as usize;
            if found != 0 {
                break;
            }
        }
        match bytes.get(at) {
            Some(b'"') => return Ok((at, is_escaped)),
            Some(b'\\') => {
                is_escaped = true;
                at = escape(bytes, at)?;
            }
            Some(0..0x20) => {
                let what = "a control character in a text must be escaped";
                return Err(BadText { at, what });
            }
            Some(_) => at += 1,
            None => {
                let what = "the text does not end";
                return Err(BadText { at, what });
            }
        }
    }
}

/// A bit in each byte that is a quote, a backslash or a control character. Only the lowest one is sure.
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (equal(b'"') | equal(b'\\') | below(word, 0x20)) & (ONES * 0x80)
}

/// The byte past the escape at `at`.
fn escape(bytes: &[u8], at: usize) -> Result<usize, BadText> {
    let bad = |what| Err(BadText { at, what });
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let lone = "a surrogate in a text must be one of a pair";
            match unit(bytes, at) {
                None => bad("`\\u` must be followed by four hexadecimal digits"),
                Some(0xD800..0xDC00) => match unit(bytes, at + 6) {
                    Some(0xDC00..0xE000) => Ok(at + 12),
                    _ => bad(lone),
                },
                Some(0xDC00..0xE000) => bad(lone),
                Some(_) => Ok(at + 6),
            }
        }
        _ => bad("a backslash in a text must begin an escape of JSON"),
    }
}

/// The number in `\u0041`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(*digit).to_digit(16)?)
    })
}

/// What a text says whose escapes were found to be good.
pub(super) fn unescape(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    unescape_into(written, &mut text);
    text
}

pub(super) fn unescape_into(written: &str, text: &mut String) {
    let mut rest = written;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let bytes = rest.as_bytes();
        let (character, len) = match bytes.get(at + 1) {
            Some(b'u') => {
                let high = unit(bytes, at).unwrap_or_default();
                match (high, unit(bytes, at + 6)) {
                    (0xD800..0xDC00, Some(low)) => (
                        0x10000 + ((high - 0xD800) << 10) + low.wrapping_sub(0xDC00) % 0x400,
                        12,
                    ),
                    _ => (high, 6),
                }
            }
            Some(b'b') => (8, 2),
            Some(b'f') => (12, 2),
            Some(b'n') => (10, 2),
            Some(b'r') => (13, 2),
            Some(b't') => (9, 2),
            Some(byte) => (u32::from(*byte), 2),
            None => (u32::from('\\'), 1),
        };
        text.push(char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = rest.get(at + len..).unwrap_or_default();
    }
    text.push_str(rest);
}

/// `text` for a message: cut, and without what would break the line.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            shown.push('…');
            break;
        }
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}
