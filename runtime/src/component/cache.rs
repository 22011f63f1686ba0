//! Machine code of components on disk, so that the second start of a component does not compile.
//!
//! A file's name is the SHA-256 of the component and of everything in the engine that shapes its
//! machine code (version, settings, CPU features). Loading machine code is trusting it: the folder
//! must belong to this user and be closed to others, and a file that is not is never loaded.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiler;
use crate::error::{Error, Kind, Result};

/// Where compiled components are kept.
pub struct Cache {
    /// None where no folder is to be had: components are then compiled at every start.
    folder: Option<PathBuf>,
    /// Components that did not compile, by their digests, and when: what takes minutes is not tried with each run.
    refused: Mutex<HashMap<String, (Instant, Error)>>,
}

/// How long it is remembered that a component did not compile.
const REFUSED_FOR: Duration = Duration::from_secs(10 * 60);

/// Refusals that are remembered.
const MAX_REFUSED: usize = 1000;

/// Where a component is compiled that is not in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Here,
    /// In a process of its own, with limits.
    Apart,
}

impl Cache {
    /// Uses `folder`, or else `$DATIVO_CACHE_DIR`, `$XDG_CACHE_HOME/dativo-wasm`, `~/.cache/dativo-wasm`.
    pub fn open(folder: Option<&Path>) -> Self {
        let folder = folder.map(Path::to_owned).or_else(default_folder);
        let folder = folder.and_then(|folder| match prepare(&folder) {
            Ok(()) => Some(folder),
            Err(reason) => {
                tracing::warn!(
                    folder = %folder.display(),
                    reason,
                    "compiled components are not cached"
                );
                None
            }
        });
        Self {
            folder,
            refused: Mutex::default(),
        }
    }

    /// Whether a component was compiled before.
    pub fn has(&self, engine: &Engine, digest: &str) -> bool {
        self.file(engine, digest)
            .is_some_and(|(_, file)| is_ours(&file))
    }

    fn find(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let (_, file) = self.file(engine, digest)?;
        self.found(engine, &file)
    }

    fn file(&self, engine: &Engine, digest: &str) -> Option<(&Path, PathBuf)> {
        let folder = self.folder.as_deref()?;
        Some((
            folder,
            folder.join(format!("{}.cwasm", key(engine, digest))),
        ))
    }

    /// Loads the machine code of `bytes`, compiling it where that was not done before. Blocks.
    pub fn load(
        &self,
        engine: &Engine,
        bytes: &[u8],
        digest: &str,
        place: Where,
    ) -> Result<Component> {
        if let Some(component) = self.find(engine, digest) {
            return Ok(component);
        }
        let code = match place {
            Where::Here => compiler::compile(engine, bytes)?,
            Where::Apart => self.compile_apart(bytes, digest)?,
        };
        if let Some((folder, file)) = self.file(engine, digest) {
            match store(&code, folder, &file) {
                // From its file, whose pages are shared and need not be kept in memory.
                Ok(()) => {
                    if let Some(component) = self.found(engine, &file) {
                        return Ok(component);
                    }
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "compiled code was not cached");
                }
            }
        }
        trust(engine, Code::Bytes(&code)).map_err(|error| {
            Error::internal("compiled code cannot be loaded").caused_by(format!("{error:#}"))
        })
    }

    fn compile_apart(&self, bytes: &[u8], digest: &str) -> Result<Vec<u8>> {
        let known = lock(&self.refused).get(digest).cloned();
        if let Some((when, error)) = known
            && when.elapsed() < REFUSED_FOR
        {
            return Err(error);
        }
        compiler::compile_apart(bytes).inspect_err(|error| {
            let mut refused = lock(&self.refused);
            if refused.len() >= MAX_REFUSED {
                refused.clear();
            }
            if error.kind() == Kind::ComponentInvalid {
                refused.insert(digest.to_owned(), (Instant::now(), error.clone()));
            }
        })
    }

    fn found(&self, engine: &Engine, file: &Path) -> Option<Component> {
        if !is_ours(file) {
            return None;
        }
        trust(engine, Code::File(file))
            .inspect_err(|error| {
                tracing::warn!(file = %file.display(), %error, "unusable cached code is replaced");
            })
            .ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Code<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// The only unsafe call of the runtime: machine code is run as it is.
#[allow(unsafe_code)]
fn trust(engine: &Engine, code: Code<'_>) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `Component::serialize` returned, here or in a child process that runs this program. Of a file,
    // `is_ours` checked that only this user can have written it, and this module is the only writer of the folder. wasmtime
    // refuses code of another version, of other settings or for other CPU features.
    unsafe {
        match code {
            Code::File(file) => Component::deserialize_file(engine, file),
            Code::Bytes(bytes) => Component::deserialize(engine, bytes),
        }
    }
}

fn key(engine: &Engine, digest: &str) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new_with_prefix(digest.as_bytes()));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex(&hasher.0.finalize())
}

/// Lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn store(code: &[u8], folder: &Path, file: &Path) -> std::io::Result<()> {
    let temporary = folder.join(format!("{}.tmp", uuid::Uuid::now_v7()));
    let mut output = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = output.write_all(code).and_then(|()| output.sync_all());
    written
        .and_then(|()| std::fs::rename(&temporary, file))
        .inspect_err(|_| {
            // Best effort: a leftover is never loaded, since its name is no key.
            let _ = std::fs::remove_file(&temporary);
        })
}

fn default_folder() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("DATIVO_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("dativo-wasm")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/dativo-wasm")))
}

/// Creates the folder and checks that nobody else can write to it.
fn prepare(folder: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| error.to_string())?;
    let found = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if !closed_to_others(&found) {
        return Err("the folder belongs to another user or others may write to it".to_owned());
    }
    Ok(())
}

fn is_ours(file: &Path) -> bool {
    std::fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && closed_to_others(&found))
}

fn closed_to_others(found: &std::fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn refuses_a_folder_that_others_may_write_to() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(Some(folder.path())).folder.is_none());
    }

    #[test]
    fn never_loads_a_file_that_others_may_write_to_and_replaces_damaged_code() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let engine = super::super::engine::start().unwrap();
        let cache = Cache::open(Some(folder.path()));
        cache.load(&engine, EMPTY, "digest", Where::Here).unwrap();
        let file = std::fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert!(is_ours(&file));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!is_ours(&file));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, b"not machine code").unwrap();
        cache.load(&engine, EMPTY, "digest", Where::Here).unwrap();
        assert!(std::fs::metadata(&file).unwrap().len() > 100);
    }

    #[test]
    fn refuses_bytes_that_are_no_component() {
        let engine = super::super::engine::start().unwrap();
        let cache = Cache {
            folder: None,
            refused: Mutex::default(),
        };
        let refused = cache.load(&engine, b"hello", "x", Where::Here).err();
        assert_eq!(refused.unwrap().kind(), Kind::ComponentInvalid);
        cache.load(&engine, EMPTY, "x", Where::Here).unwrap();
    }
}
