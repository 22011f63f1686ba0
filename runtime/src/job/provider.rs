//! Secrets from a command of the operator's, such as the client of a vault. What it prints is the value; nothing of it is shown.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// For one secret.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `command`, with `{tenant}` and `{name}` filled in, and gives what it prints without its last line end.
pub fn ask(command: &[String], tenant: &str, name: &str, max_bytes: u64) -> Result<String, String> {
    let fill = |part: &String| part.replace("{tenant}", tenant).replace("{name}", name);
    let mut parts = command.iter().map(fill);
    let program = parts.next().ok_or("the operator's command is empty")?;
    let started = Command::new(&program)
        .args(parts)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.map_err(|error| format!("the operator's command: {error}"))?;
    let output = child
        .stdout
        .take()
        .ok_or("the operator's command has no output")?;
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("the operator's command took longer than 10 s".to_owned());
            }
        }
    };
    if !status.success() {
        return Err(format!("the operator's command ended with {status}"));
    }
    let read = reading
        .join()
        .map_err(|_| "its output cannot be read".to_owned())?;
    let bytes = read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("it is larger than {} KiB", max_bytes >> 10));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let end = text.strip_suffix('\n').map_or(text.len(), str::len);
    text.truncate(end);
    match text.is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<String, String> {
        let command = ["sh", "-c", script, "sh", "{tenant}/{name}"].map(str::to_owned);
        ask(&command, "acme", "TOKEN", 16)
    }

    #[test]
    fn what_it_prints_is_the_value_and_what_fails_is_said_without_it() {
        assert_eq!(sh("echo $1").unwrap(), "acme/TOKEN");
        assert_eq!(sh("printf 'a\\n\\n'").unwrap(), "a\n");
        for (script, says) in [
            ("echo hunter2; exit 3", "exit status: 3"),
            ("echo hunter2hunter2hunter2", "larger"),
            ("printf '\\377'", "UTF-8"),
            ("true", "empty"),
        ] {
            let error = sh(script).unwrap_err();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{error}"
            );
        }
        let absent = ask(&["/no/such/program".to_owned()], "t", "n", 10);
        assert!(absent.unwrap_err().contains("No such file"));
    }
}
