//! Key files: a master key for development that is one line of text in a file of its owner's alone.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::seal::{KEY_BYTES, LocalKey};

/// Longest file that is read, in bytes: the longest line is 64 digits, with a line feed and some blanks.
const MAX_FILE_BYTES: u64 = 256;

/// What makes a key file.
const MAKE: &str = "make one: `(umask 077 && openssl rand -base64 32 > FILE)`";

/// Opens `path`, from the working directory where it is relative.
pub fn read(path: &str) -> Result<LocalKey> {
    let refuse = |what: String| {
        Failure::new(
            ErrorKind::InvalidConfig,
            format!("key file `{}` {what}", path.escape_debug()),
        )
    };
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure {
            kind: ErrorKind::NotFound,
            ..refuse("does not exist".to_owned()).hint(MAKE.replace("FILE", path))
        },
        _ => refuse(format!("cannot be read: {error}")),
    };
    // A pipe would not open before someone writes to it.
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(unreadable)?;
    // Of what was opened, and not of what may since have its name.
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(refuse("is no file".to_owned()));
    }
    if facts.mode() & 0o077 != 0 {
        let mode = facts.mode() & 0o777;
        return Err(
            refuse(format!("can be read or changed by others (mode {mode:o})"))
                .hint(format!("chmod 600 '{path}'")),
        );
    }
    let text = contents(file).map_err(unreadable)?;
    let key = parse(&text).ok_or_else(|| {
        refuse(
            "does not hold 32 bytes as base64 or as 64 hexadecimal digits, in one line".to_owned(),
        )
        .hint(MAKE)
    })?;
    LocalKey::new(key).map_err(|error| refuse(error.to_string()))
}

/// At most one byte more than a key file has.
fn contents(file: File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // In full, so that it never moves and leaves a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * MAX_FILE_BYTES as usize));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let line = text.trim_ascii();
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    if line.len() == 2 * KEY_BYTES {
        for (byte, digits) in key.iter_mut().zip(line.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            let (high, low) = (value(digits[0])?, value(digits[1])?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        return Some(key);
    }
    // The decoder asks for room for whole groups of three.
    let mut decoded = Zeroizing::new([0; KEY_BYTES + 4]);
    let length = STANDARD
        .decode_slice(line, decoded.as_mut())
        .or_else(|_| STANDARD_NO_PAD.decode_slice(line, decoded.as_mut()));
    if length != Ok(KEY_BYTES) {
        return None;
    }
    key.copy_from_slice(&decoded[..KEY_BYTES]);
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    #[test]
    fn refuses_what_is_not_32_bytes_in_one_line() {
        let secret = "secret ".repeat(100);
        for text in [
            "",
            "\n",
            &BASE64[..40],
            &HEX[1..],
            &format!("{HEX}0"),
            &format!("{BASE64}{BASE64}"),
            &format!("{BASE64}\n{BASE64}"),
            &format!("x{}", &HEX[1..]),
            &format!("{}é", &HEX[2..]),
            "AAECAwQFBgcICQoLDA0ODw==",
            &secret,
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn reads_base64_and_hexadecimal_digits() {
        let key: Vec<u8> = (0..32).collect();
        for text in [BASE64, &BASE64[..43], HEX, &format!(" {BASE64}\r\n")] {
            assert_eq!(*parse(text.as_bytes()).unwrap(), key, "{text}");
        }
    }

    #[test]
    fn refuses_a_file_that_others_can_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.key");
        let name = path.to_str().unwrap();
        let error = read(name).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        std::fs::write(&path, BASE64).unwrap();
        for mode in [0o640, 0o604, 0o610, 0o602, 0o644] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = read(name).unwrap_err();
            assert!(error.message.contains("by others"), "{error}");
            assert_eq!(error.hint, Some(format!("chmod 600 '{name}'")));
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert!(read(name).is_ok());
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "top secret").unwrap();
        let error = read(name).unwrap_err();
        assert!(error.message.contains("does not hold 32 bytes"), "{error}");
        assert!(!format!("{error:?}").contains("top secret"), "{error:?}");
        let error = read(folder.path().to_str().unwrap()).unwrap_err();
        assert!(error.message.contains("is no file"), "{error}");
    }
}
