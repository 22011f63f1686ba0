//! Compiles components: those that the program carries in this process, all others in a child process with limits.
//!
//! A component can be made to take its compiler minutes and gigabytes. The child has neither the environment nor the secrets of this
//! process, and what it may take ends it. What it answers is machine code, which is trusted as this process's own would be.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine;
use crate::error::{Error, Kind, Result};

/// The hidden verb that compiles what it reads.
pub const VERB: &str = "compile-component";

/// What a child may take.
#[derive(Debug, Clone, Copy)]
pub struct CompilerLimits {
    pub memory_mib: u64,
    pub cpu_seconds: u64,
}

/// CPython, which is 29 MB of WebAssembly, needs a part of it.
const LIMITS: CompilerLimits = CompilerLimits {
    memory_mib: 3 << 10,
    cpu_seconds: 120,
};
const MAX_WALL: Duration = Duration::from_secs(180);
/// Machine code is some times larger than the component that it is made from, and held in memory once.
const MAX_CODE_BYTES: u64 = 512 << 20;
const MAX_MESSAGE_BYTES: u64 = 4 << 10;

/// Runs go first: with this, the system gives a child a tenth of the time of whatever else runs.
const NICE: i32 = 10;

const POLL: Duration = Duration::from_millis(2);

/// Machine code of a component, in this process.
pub fn compile(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    let start = Instant::now();
    let component = Component::from_binary(engine, bytes)
        .map_err(|error| invalid().caused_by(format!("{error:#}")))?;
    tracing::debug!(
        millis = start.elapsed().as_millis() as u64,
        "compiled a component"
    );
    component
        .serialize()
        .map_err(|error| Error::internal("machine code cannot be kept").caused_by(error))
}

/// Who may start a child: at the same time one for components that the operator installed, and one for those that tenants brought.
pub struct Turns {
    installed: Semaphore,
    brought: Semaphore,
    tenants: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn, until dropped.
pub struct Turn<'a> {
    _lane: Option<SemaphorePermit<'a>>,
    _tenant: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            installed: Semaphore::new(1),
            brought: Semaphore::new(1),
            tenants: Mutex::default(),
        }
    }
}

impl Turns {
    /// Waits for a turn. Tenants take turns, however many components each has.
    pub async fn take(&self, tenant: Option<&str>) -> Turn<'_> {
        // Semaphores are first come, first served, and none is ever closed.
        let Some(tenant) = tenant else {
            return Turn {
                _lane: self.installed.acquire().await.ok(),
                _tenant: None,
            };
        };
        let own = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(1));
            tenants.entry(tenant.to_owned()).or_insert_with(new).clone()
        };
        let own = own.acquire_owned().await.ok();
        Turn {
            _lane: self.brought.acquire().await.ok(),
            _tenant: own,
        }
    }
}

/// Machine code of a component, made by a child process. Blocks.
pub fn compile_apart(bytes: &[u8]) -> Result<Vec<u8>> {
    let start = Instant::now();
    // The program that runs, also where its file was replaced.
    let child = Command::new("/proc/self/exe")
        .arg(VERB)
        .args([LIMITS.memory_mib, LIMITS.cpu_seconds].map(|most| most.to_string()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| {
        Error::internal("no process to compile a component in").caused_by(error)
    })?;
    let (Some(mut input), Some(output), Some(messages)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Error::internal("no pipes to compile a component with"));
    };
    let (status, code, message) = std::thread::scope(|scope| {
        // A child that ended does not read: its status says why.
        scope.spawn(move || input.write_all(bytes));
        let code = scope.spawn(move || read(output, MAX_CODE_BYTES + 1));
        let message = scope.spawn(move || read(messages, MAX_MESSAGE_BYTES));
        let status = wait(&mut child, start + MAX_WALL);
        (status, code.join(), message.join())
    });
    let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
    tracing::debug!(
        millis = start.elapsed().as_millis() as u64,
        "compiled a component in a process of its own"
    );
    match status {
        _ if code.len() as u64 > MAX_CODE_BYTES => {
            Err(took_too_much("its machine code is larger than 512 MiB"))
        }
        Some(status) if status.success() => Ok(code),
        Some(status) if status.code() == Some(1) => {
            Err(invalid().caused_by(String::from_utf8_lossy(&message).trim()))
        }
        Some(status) => Err(took_too_much(&format!("the compiler ended with {status}"))),
        None => Err(took_too_much("the compiler did not end in time")),
    }
}

/// The child: compiles what comes on `input`, within its limits, and answers machine code on `output`.
pub fn compile_as_child(
    limits: CompilerLimits,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<()> {
    let limit = |resource, most| {
        let most = Some(most);
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )
    };
    // Of the data that is written to: what is merely reserved costs nothing.
    limit(Resource::Data, limits.memory_mib << 20)
        .and_then(|()| limit(Resource::Cpu, limits.cpu_seconds))
        .and_then(|()| limit(Resource::Core, 0))
        .and_then(|()| nice(NICE).map(drop))
        .map_err(|error| Error::internal("no limits for the compiler").caused_by(error))?;
    let mut bytes = Vec::new();
    let broken = |error| Error::internal("the compiler's pipe broke").caused_by(error);
    input.read_to_end(&mut bytes).map_err(broken)?;
    let code = compile(&engine::new()?, &bytes)?;
    output
        .write_all(&code)
        .and_then(|()| output.flush())
        .map_err(broken)
}

fn read(pipe: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was cut off is no machine code, and no message that is missed.
    let _ = pipe.take(most).read_to_end(&mut bytes);
    bytes
}

/// Waits for the child until `deadline`, then ends it. None where it was ended so.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn invalid() -> Error {
    Error::new(
        Kind::ComponentInvalid,
        "the file is not a valid WebAssembly component",
    )
    .hint("build it for the target `wasm32-wasip2`; a core module is not a component")
}

fn took_too_much(cause: &str) -> Error {
    Error::new(
        Kind::ComponentInvalid,
        format!(
            "the component cannot be compiled with {} MiB of memory and {} s of CPU time",
            LIMITS.memory_mib, LIMITS.cpu_seconds
        ),
    )
    .caused_by(cause)
    .hint("ask who built it for a smaller one; a connector takes a second or less")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tenants_take_turns_and_hold_up_no_component_of_the_operator() {
        let turns = Turns::default();
        let first = turns.take(Some("bomber")).now_or_never().unwrap();
        let (mut second, mut other) = (
            Box::pin(turns.take(Some("bomber"))),
            Box::pin(turns.take(Some("other"))),
        );
        assert!(second.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        assert!(turns.take(None).now_or_never().is_some());
        drop(first);
        // Whoever has had a turn is behind whoever waited for one.
        assert!(second.as_mut().now_or_never().is_none());
        let others = other.as_mut().now_or_never().unwrap();
        drop(others);
        assert!(second.as_mut().now_or_never().is_some());
    }
}
