//! Components: loaded, checked, compiled once, and run one Store an instance.
//!
//! Knows the contract (`wit/`) and wasmtime. Knows no YAML, no file format and no service.

pub mod bindings;
mod cache;
mod call;
pub mod compiler;
mod cpu;
mod engine;
mod loaded;
mod output;
mod reader;
mod share;
mod state;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub use cache::{Where, hex};
pub use call::Stop;
pub use cpu::Cpu;
pub use loaded::{CONTRACT, Description, Linked, Loaded};
pub use reader::{Batches, Column, Dataset, ReaderInstance};
pub use share::CpuShare;
pub use state::{State, wit_error};
pub use writer::{CommitRecord, ComponentRef, Output, Receipt, Run, WriterInstance};

use crate::error::Result;
use crate::job::{Limits, Secrets};
use crate::trace::Trace;

/// The engine and the cache of compiled code: one for the process.
pub struct Components {
    engine: wasmtime::Engine,
    cache: cache::Cache,
    place_of_others: Where,
    turns: compiler::Turns,
    /// Those that were loaded, by the SHA-256 of their files: a process that serves loads the same ones again and again.
    loaded: Mutex<HashMap<String, Loaded>>,
    shares: Arc<share::Shares>,
}

impl Components {
    /// Starts the engine. Compiled code is kept in `cache_folder`, or in the user's cache folder. `others` is where components are
    /// compiled that the program does not carry; apart needs a program that knows [`compiler::VERB`].
    pub fn start(cache_folder: Option<&Path>, others: Where) -> Result<Self> {
        Ok(Self {
            engine: engine::start()?,
            cache: cache::Cache::open(cache_folder),
            place_of_others: others,
            turns: compiler::Turns::default(),
            loaded: Mutex::default(),
            shares: Arc::default(),
        })
    }

    /// What a tenant has of the processors, beside the others for whom this process runs jobs.
    pub fn cpu(&self, tenant: &str) -> Cpu {
        Cpu::new(&self.shares, tenant)
    }
}

/// Whom an instance works for: stands on every line it logs.
pub struct Scope {
    pub run_id: String,
    pub job: String,
    pub tenant: String,
    /// The components of the job, for records of who wrote what.
    pub reader: ComponentRef,
    pub writer: ComponentRef,
    /// `reader csv, split 1`.
    pub instance: String,
    /// Where somebody wants to know what it calls.
    pub trace: Option<Arc<Trace>>,
    pub secrets: Arc<Secrets>,
}

/// All that an instance needs beside its linked component.
pub struct Sandbox {
    pub scope: Scope,
    pub limits: Limits,
    pub stop: Stop,
}
