//! One active run a job: who holds the lease, and whether that process still lives.
//!
//! A lease expires when it is not renewed. A holder that provably died on this machine since it
//! booted is replaced at once, so that a run after `kill -9` need not wait.

use std::sync::Arc;
use std::time::Duration;

use super::{JobKey, sqlite::Connection};
use crate::error::Result;

/// A lease that was not renewed for this long is anybody's. Long enough for a machine that swaps,
/// short enough that a job whose host died is soon run elsewhere.
pub const LEASE_TERM: Duration = Duration::from_secs(30);

/// The right to run a job, given back when dropped.
pub struct Lease {
    pub(super) connection: Arc<Connection>,
    pub(super) key: JobKey,
    pub(super) run: String,
}

impl Lease {
    /// Holds the job for another [`LEASE_TERM`]. Fails as `state_conflict` where it was lost.
    pub fn renew(&self) -> Result<()> {
        self.connection.renew(&self.key, &self.run)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = self.connection.release(&self.key, &self.run) {
            tracing::warn!(run_id = self.run, %error, "the lease was not given back; it expires");
        }
    }
}

/// A process, so that another can tell whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Identifies one boot of one machine.
    pub boot: String,
    pub pid: u32,
    /// In clock ticks since the boot: tells a process from a later one with the same id.
    pub started: u64,
}

impl Holder {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self {
            boot: boot(),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// Whether the process certainly ended: it ran on this boot of this machine and is not there.
    pub fn is_dead(&self) -> bool {
        !self.boot.is_empty() && self.boot == boot() && started(self.pid) != Some(self.started)
    }
}

fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// When a process started; none where there is none, or where it is dead and not yet waited for.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_dead_process_from_a_living_one_and_from_its_successor() {
        let this = Holder::this();
        assert!(!this.is_dead());
        assert!(
            Holder {
                started: this.started + 1,
                ..this.clone()
            }
            .is_dead()
        );
        assert!(
            !Holder {
                boot: "another machine".to_owned(),
                started: 1,
                ..this
            }
            .is_dead()
        );

        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let started = started(child.id()).unwrap();
        let holder = Holder {
            boot: boot(),
            pid: child.id(),
            started,
        };
        assert!(!holder.is_dead());
        child.kill().unwrap();
        while !holder.is_dead() {
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert!(holder.is_dead());
    }
}
