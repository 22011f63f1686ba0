//! Sizes and durations as people write them, and their ranges.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// Bytes: `256MiB`, `64kB` or a plain number. The error says what was expected.
pub fn size(value: &Value, range: RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        // ByteSize takes `1.5` and other fractions of a byte; a unit makes them meaningful.
        Value::String(text) => ByteSize::from_str(text).ok().map(|size| size.as_u64()),
        _ => None,
    };
    match bytes {
        None => Err("must be a size such as `256MiB`, or a number of bytes".to_owned()),
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) => Err(format!(
            "must be from `{}` to `{}`",
            in_binary_units(*range.start()),
            in_binary_units(*range.end())
        )),
    }
}

/// A duration with its unit: `90s`, `30m`, `1h 30m`.
pub fn duration(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    match value
        .as_str()
        .and_then(|text| humantime::parse_duration(text).ok())
    {
        None => Err("must be a duration such as `30s`, `5m` or `1h 30m`".to_owned()),
        Some(duration) if range.contains(&duration) => Ok(duration),
        Some(_) => Err(format!(
            "must be from `{}` to `{}`",
            humantime::format_duration(*range.start()),
            humantime::format_duration(*range.end())
        )),
    }
}

/// The bounds of our ranges are whole numbers of these units.
fn in_binary_units(bytes: u64) -> String {
    [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, name)| format!("{}{name}", bytes / unit),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_size(value: Value, expected: Result<u64, &str>) {
        let got = size(&value, 16 * MIB..=8 * GIB);
        assert_eq!(got, expected.map_err(str::to_owned), "{value}");
    }

    #[test]
    fn refuses_sizes_without_meaning_or_out_of_range() {
        let meaning = Err("must be a size such as `256MiB`, or a number of bytes");
        let range = Err("must be from `16MiB` to `8GiB`");
        check_size(json!("lots"), meaning);
        check_size(json!(""), meaning);
        check_size(json!("-1MiB"), meaning);
        check_size(json!(-1), meaning);
        check_size(json!("256 apples"), meaning);
        check_size(json!(16 * MIB - 1), range);
        check_size(json!("9GiB"), range);
        check_size(json!("99999999999999999999GiB"), range);
        check_size(json!("NaN"), meaning);
    }

    #[test]
    fn reads_sizes() {
        check_size(json!("256MiB"), Ok(256 * MIB));
        check_size(json!("256 MiB"), Ok(256 * MIB));
        check_size(json!("20MB"), Ok(20_000_000));
        check_size(json!(16 * MIB), Ok(16 * MIB));
        check_size(json!("8GiB"), Ok(8 * GIB));
    }

    fn check_duration(value: Value, expected: Result<Duration, &str>) {
        let got = duration(
            &value,
            Duration::from_millis(100)..=Duration::from_secs(86_400),
        );
        assert_eq!(got, expected.map_err(str::to_owned), "{value}");
    }

    #[test]
    fn refuses_durations_without_a_unit_or_out_of_range() {
        let meaning = Err("must be a duration such as `30s`, `5m` or `1h 30m`");
        let range = Err("must be from `100ms` to `1day`");
        check_duration(json!("30"), meaning);
        check_duration(json!(30), meaning);
        check_duration(json!("soon"), meaning);
        check_duration(json!("-5m"), meaning);
        check_duration(json!("99999999999999999999d"), meaning);
        check_duration(json!("99ms"), range);
        check_duration(json!("25h"), range);
    }

    #[test]
    fn reads_durations() {
        check_duration(json!("1h 30m"), Ok(Duration::from_secs(5400)));
        check_duration(json!("100ms"), Ok(Duration::from_millis(100)));
        check_duration(json!("1day"), Ok(Duration::from_secs(86_400)));
    }
}
