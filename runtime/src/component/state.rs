//! What one instance may use, and what it has used: the data of its Store.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

use super::Scope;
use super::bindings::imports::types::{Error as WitError, ErrorKind};
use super::cpu;
use super::engine::TICK;
use super::output::{GuestLog, Stdio};
use crate::capabilities::Granted;
use crate::error::{Error, Kind, Result};
use crate::job::Limits;
use crate::trace::Calls;

/// Handles that an instance may hold at a time. A million idle handles would cost the host some
/// 100 MB; no connector needs more than one for each open file and batch.
pub const MAX_HANDLES: usize = 65_536;

/// What a handle costs the host beside the bytes behind it: its slot in the table.
const HANDLE_BYTES: u64 = 128;

/// Core instances, memories and tables of one component. The largest known toolchain output
/// (CPython) has about 40 core instances and one memory.
const MAX_CORE_INSTANCES: usize = 256;
const MAX_MEMORIES: usize = 32;
const MAX_TABLES: usize = 64;

/// Bytes that an element of a table takes in the host.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// The data of one Store.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    pub(crate) budget: Budget,
    pub(crate) log: GuestLog,
    pub(crate) scope: Arc<Scope>,
    pub(crate) granted: Granted,
    cpu: CpuClock,
    calls: Calls,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(trace) = &self.scope.trace {
            self.calls.end(&self.scope.instance, trace);
        }
    }
}

impl State {
    pub fn new(scope: Arc<Scope>, granted: Granted, limits: &Limits) -> Result<Self> {
        let log = GuestLog::new(scope.clone(), limits.log_bytes);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Stdio {
            log: log.clone(),
            is_stderr: false,
        })
        .stderr(Stdio {
            log: log.clone(),
            is_stderr: true,
        })
        .allow_tcp(false)
        .allow_udp(false);
        for folder in &granted.files {
            let name = folder.to_string_lossy();
            wasi.preopened_dir(folder, name.as_ref(), FsPerms::ReadOnly)
                .map_err(|error| {
                    Error::new(
                        Kind::JobInvalid,
                        format!("cannot open the granted folder `{name}`"),
                    )
                    .caused_by(format!("{error:#}"))
                    .hint("create the folder, or correct `grants: { files: [...] }`")
                })?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Ok(Self {
            table,
            wasi: wasi.build(),
            budget: Budget::new(limits.memory_bytes),
            log,
            scope,
            granted,
            cpu: CpuClock {
                left: 0,
                max_ticks: ticks(limits.cpu_per_call),
            },
            calls: Calls::default(),
        })
    }

    /// A call into `capability` begins.
    pub fn calling(&mut self, capability: &'static str) -> &mut Self {
        if self.scope.trace.is_some() {
            self.calls.count(capability);
        }
        self
    }

    /// Starts the clock of a call.
    pub fn start_call(&mut self) {
        self.cpu.left = self.cpu.max_ticks;
        self.budget.refused = None;
        self.budget.invalid = None;
    }

    pub fn cpu_exhausted(&self) -> bool {
        self.cpu.left == 0
    }

    /// Called at every epoch in which the guest was running.
    pub fn tick(&mut self) -> UpdateDeadline {
        self.cpu.left = self.cpu.left.saturating_sub(1);
        match (self.cpu.left, cpu::pause()) {
            (0, _) => UpdateDeadline::Interrupt,
            (_, None) => UpdateDeadline::Yield(1),
            // Once it goes on, the epochs of the pause do not count.
            (_, Some(pause)) => UpdateDeadline::YieldCustom(1, Box::pin(pause)),
        }
    }

    /// Puts `value` behind a handle, if its `bytes` of host memory are within the limit.
    pub fn hold<T: Send + 'static>(
        &mut self,
        value: T,
        bytes: u64,
    ) -> Result<Resource<T>, WitError> {
        self.budget.take(bytes + HANDLE_BYTES)?;
        self.table.push(value).map_err(|_| {
            self.budget.give(bytes + HANDLE_BYTES);
            self.budget
                .refuse(format!("held more than {MAX_HANDLES} handles"));
            wit_error(
                ErrorKind::LimitExceeded,
                format!("more than {MAX_HANDLES} handles are held"),
            )
        })
    }

    /// Takes the value from behind a handle that the guest gave back, with its bytes.
    ///
    /// Fails, as a trap, where the handle is not one of this type: the guest broke the contract.
    pub fn release<T: Send + 'static>(
        &mut self,
        handle: Resource<T>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> wasmtime::Result<T> {
        let value = self.table.delete(handle)?;
        self.budget.give(bytes(&value) + HANDLE_BYTES);
        Ok(value)
    }

    pub fn get<T: Send + 'static>(&self, handle: &Resource<T>) -> wasmtime::Result<&T> {
        Ok(self.table.get(handle)?)
    }

    pub fn get_mut<T: Send + 'static>(&mut self, handle: &Resource<T>) -> wasmtime::Result<&mut T> {
        Ok(self.table.get_mut(handle)?)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// CPU time of one call, in epochs. An epoch counts where the guest was found running, so the time
/// that the machine gave to others while it was runnable counts too: an upper bound of its CPU time.
struct CpuClock {
    left: u64,
    max_ticks: u64,
}

fn ticks(limit: std::time::Duration) -> u64 {
    u64::try_from(limit.as_millis() / TICK.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// Memory of one instance: its linear memories, its tables, and what its handles hold in the host.
pub struct Budget {
    limit: u64,
    used: u64,
    refused: Option<String>,
    invalid: Option<Error>,
}

impl Budget {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            refused: None,
            invalid: None,
        }
    }

    /// Counts `bytes` of host memory, or refuses with the numbers.
    pub fn take(&mut self, bytes: u64) -> Result<(), WitError> {
        if self.try_take(bytes) {
            return Ok(());
        }
        Err(wit_error(
            ErrorKind::LimitExceeded,
            self.refused.clone().unwrap_or_default(),
        ))
    }

    /// Bytes that can still be taken.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    pub fn give(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// What was refused in this call, as the tail of a sentence that begins with the component.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Remembers that the guest handed over bytes that are not Arrow: where it fails on that, this is why.
    pub fn note_invalid(&mut self, error: &Error) {
        self.invalid = Some(error.clone());
    }

    pub fn invalid(&self) -> Option<&Error> {
        self.invalid.as_ref()
    }

    fn refuse(&mut self, what: String) {
        self.refused = Some(what);
    }

    fn try_take(&mut self, bytes: u64) -> bool {
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.limit {
            let (wanted, limit) = (mib(wanted), mib(self.limit));
            self.refuse(format!(
                "asked for {wanted} of memory; the limit is {limit}"
            ));
            return false;
        }
        self.used = wanted;
        true
    }
}

/// `300 MiB`, rounded up.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.budget.try_take(desired.saturating_sub(current) as u64))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current) as u64;
        Ok(self
            .budget
            .try_take(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }
}

/// An error for the guest.
pub fn wit_error(kind: ErrorKind, message: impl Into<String>) -> WitError {
    WitError {
        kind,
        message: message.into(),
        hint: None,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_tables_and_handles_share_one_limit() {
        let mut budget = Budget::new(100 << 20);
        assert!(budget.try_take(60 << 20));
        assert!(budget.take(60 << 20).is_err());
        assert_eq!(
            budget.refused(),
            Some("asked for 120 MiB of memory; the limit is 100 MiB")
        );
        budget.give(60 << 20);
        assert!(budget.take(60 << 20).is_ok());
    }

    #[test]
    fn a_size_that_overflows_is_refused() {
        let mut budget = Budget::new(100);
        assert!(budget.try_take(1));
        assert!(!budget.try_take(u64::MAX));
    }
}
