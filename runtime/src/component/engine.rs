//! The wasmtime engine: how guests are compiled and interrupted. One for the process.
//!
//! Knows no contract and no job.

use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::error::{Error, Result};

/// How often a running guest is interrupted to yield and to be checked against its CPU limit.
///
/// Shorter ticks make the limit finer and cost more; at 10 ms the cost does not show.
pub const TICK: Duration = Duration::from_millis(10);

/// Stack of a guest, in bytes. Passing it is a trap, not a crash of the host.
const GUEST_STACK_BYTES: usize = 1 << 20;

/// Makes the engine and the thread that moves its epoch on; the thread ends with the engine.
pub fn start() -> Result<Engine> {
    let engine = new()?;
    let ticking = engine.weak();
    std::thread::Builder::new()
        .name("epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map_err(|error| Error::internal("no thread for the epoch clock").caused_by(error))?;
    Ok(engine)
}

/// An engine with the settings of this program, which shape the machine code.
pub fn new() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(GUEST_STACK_BYTES);
    // The host calls guests on stacks of this size: the guest's own and room for host functions.
    config.async_stack_size(GUEST_STACK_BYTES + (1 << 20));
    Engine::new(&config).map_err(|error| {
        Error::internal("the WebAssembly engine does not start").caused_by(format!("{error:#}"))
    })
}
