//! Where the time of a run went: its splits, and what each instance called of each capability. Collected where somebody wants it.
//!
//! Knows no exporter and no clock of its own.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What happened during one run, in no order.
#[derive(Debug, Default)]
pub struct Trace(Mutex<Vec<Span>>);

/// A stretch of time within a run.
#[derive(Debug, Clone)]
pub struct Span {
    pub what: What,
    pub start: SystemTime,
    pub end: SystemTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One split, with all its attempts.
    Split {
        index: u32,
        rows: u64,
        /// The kind of the error that ended it.
        error: Option<&'static str>,
    },
    /// All that one instance called of one capability, from the first call to the last.
    Calls {
        /// `reader csv, split 1`.
        instance: String,
        capability: &'static str,
        count: u64,
    },
}

impl Trace {
    pub fn add(&self, span: Span) {
        self.lock().push(span);
    }

    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls of one instance by capability, which reach its run's trace when it ends.
#[derive(Debug, Default)]
pub struct Calls(Vec<(&'static str, u64, SystemTime, SystemTime)>);

impl Calls {
    pub fn count(&mut self, capability: &'static str) {
        let now = SystemTime::now();
        match self.0.iter_mut().find(|(known, ..)| *known == capability) {
            Some((_, count, _, end)) => {
                *count += 1;
                *end = now;
            }
            None => self.0.push((capability, 1, now, now)),
        }
    }

    pub fn end(&mut self, instance: &str, trace: &Trace) {
        for (capability, count, start, end) in self.0.drain(..) {
            let instance = instance.to_owned();
            let what = What::Calls {
                instance,
                capability,
                count,
            };
            trace.add(Span { what, start, end });
        }
    }
}
