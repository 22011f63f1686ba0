//! The server's own text form of types that Arrow has none for, for values inside of arrays, composites and ranges.
//! (Alone, such a value is asked for as text.)
//!
//! Each function appends to `out` and answers None where the bytes are no such value.

/// Hours, minutes, seconds and the offset from UTC.
pub(super) fn time_tz(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (micros, zone) = bytes.split_first_chunk::<8>()?;
    let micros = i64::from_be_bytes(*micros);
    let west = i32::from_be_bytes(zone.try_into().ok()?);
    if !(0..=86_400_000_000).contains(&micros) || west.unsigned_abs() >= 86_400 {
        return None;
    }
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction > 0 {
        text += format!(".{fraction:06}").trim_end_matches('0');
    }
    // On the wire west of Greenwich is positive, in text it is east.
    text.push(if west > 0 { '-' } else { '+' });
    let zone = west.unsigned_abs();
    text += &format!("{:02}", zone / 3600);
    if !zone.is_multiple_of(3600) {
        text += &format!(":{:02}", zone / 60 % 60);
    }
    if !zone.is_multiple_of(60) {
        text += &format!(":{:02}", zone % 60);
    }
    out.extend(text.as_bytes());
    Some(())
}

/// inet and cidr.
pub(super) fn network(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let ([family, bits, is_cidr, size], address) = bytes.split_first_chunk::<4>()?;
    if address.len() != usize::from(*size) {
        return None;
    }
    let (text, most) = match family {
        2 => {
            let [a, b, c, d]: [u8; 4] = address.try_into().ok()?;
            (format!("{a}.{b}.{c}.{d}"), 32)
        }
        3 => (ipv6(address.try_into().ok()?), 128),
        _ => return None,
    };
    out.extend(text.as_bytes());
    if *bits > most {
        return None;
    }
    if *bits < most || *is_cidr != 0 {
        out.extend(format!("/{bits}").as_bytes());
    }
    Some(())
}

/// The longest run of zeros, of two words or more, is `::`, and what is an IPv4 address inside is written as such.
fn ipv6(address: [u8; 16]) -> String {
    let (words, _) = address.as_chunks::<2>();
    let words: Vec<u16> = words.iter().map(|word| u16::from_be_bytes(*word)).collect();
    let (mut run, mut run_len) = (0, 0);
    for start in 0..8 {
        let len = words
            .iter()
            .skip(start)
            .take_while(|word| **word == 0)
            .count();
        if len > run_len {
            (run, run_len) = (start, len);
        }
    }
    if run_len < 2 {
        (run, run_len) = (8, 0);
    }
    let last = words.last().copied();
    let holds_ipv4 = run == 0
        && (run_len == 6
            || run_len == 7 && last != Some(1)
            || run_len == 5 && words.get(5) == Some(&0xFFFF));
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        if (run..run + run_len).contains(&index) {
            if index == run {
                text.push(':');
            }
            continue;
        }
        if index > 0 {
            text.push(':');
        }
        if index == 6 && holds_ipv4 {
            let [.., a, b, c, d] = address;
            text += &format!("{a}.{b}.{c}.{d}");
            break;
        }
        text += &format!("{word:x}");
    }
    if run_len > 0 && run + run_len == 8 {
        text.push(':');
    }
    text
}

/// macaddr of 6 bytes, macaddr8 of 8.
pub(super) fn mac(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if ![6, 8].contains(&bytes.len()) {
        return None;
    }
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    out.extend(text.join(":").as_bytes());
    Some(())
}

/// bit and varbit: how many bits, then bytes that hold them.
pub(super) fn bit_string(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (count, bytes) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    if bytes.len() != count.div_ceil(8) {
        return None;
    }
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    out.extend(bits.take(count).map(|bit| b'0' + bit));
    Some(())
}

/// "char": one byte, of which 0 is the empty text and those that are not ASCII are written in octal.
pub(super) fn char_byte(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match bytes {
        [0] => {}
        [byte @ 1..=0x7F] => out.push(*byte),
        [byte] => out.extend(format!("\\{byte:03o}").as_bytes()),
        _ => return None,
    }
    Some(())
}
