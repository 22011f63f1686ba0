//! A hook for tests: kills the process at a named point, as `kill -9` would.
//!
//! Only in debug builds. `DATIVO_CRASH_AT=point:n` kills at the n-th time that the point is reached;
//! `DATIVO_CRASH_TRACE=file` appends the name of every point reached.

/// Marks a point at which a crash must lose nothing.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    hook::reached(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod hook {
    use std::collections::HashMap;
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    static SEEN: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

    pub fn reached(name: &str) {
        let count = {
            let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            let count = seen
                .get_or_insert_default()
                .entry(name.to_owned())
                .or_insert(0);
            *count += 1;
            *count
        };
        if let Some(file) = std::env::var_os("DATIVO_CRASH_TRACE") {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(file);
            if let Ok(mut file) = file {
                // At once: threads write to it side by side.
                let _ = file.write_all(format!("{name}\n").as_bytes());
            }
        }
        let Ok(wanted) = std::env::var("DATIVO_CRASH_AT") else {
            return;
        };
        let (point, at) = match wanted.split_once(':') {
            Some((point, at)) => (point, at.parse().unwrap_or(1)),
            None => (wanted.as_str(), 1),
        };
        if point == name && count == at {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
        }
    }
}
