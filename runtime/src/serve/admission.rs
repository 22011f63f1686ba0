//! Which of the runs that are due may begin: within the memory and the number of runs of this process and of each tenant, and fairly.
//!
//! Pure. A run that does not fit waits; of the tenants that wait, the one with the fewest runs for its weight is next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::timetable::Start;
use crate::error::{Error, Kind, Result};
use crate::job::TenantLimits;
use crate::runs::JobKey;

/// What this process may use for all runs together.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub runs: u32,
    pub memory_bytes: u64,
}

/// A run that waits, or is active.
struct Claim {
    start: Start,
    memory_bytes: u64,
}

pub struct Admission {
    capacity: Capacity,
    tenants: BTreeMap<String, Tenant>,
    active: HashMap<JobKey, u64>,
    memory_bytes: u64,
    /// Counts up; tells who was served longest ago.
    turn: u64,
}

#[derive(Default)]
struct Tenant {
    limits: TenantLimits,
    waiting: VecDeque<Claim>,
    runs: u32,
    memory_bytes: u64,
    served: u64,
}

impl Tenant {
    fn fits(&self, claim: &Claim) -> bool {
        self.runs < self.limits.runs
            && self.memory_bytes + claim.memory_bytes <= self.limits.memory_bytes
    }

    fn load(&self) -> f64 {
        f64::from(self.runs) / f64::from(self.limits.weight)
    }
}

impl Admission {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            tenants: BTreeMap::new(),
            active: HashMap::new(),
            memory_bytes: 0,
            turn: 0,
        }
    }

    /// A run waits for its turn. Fails where it can never have one.
    pub fn offer(&mut self, start: Start, memory_bytes: u64, limits: TenantLimits) -> Result<()> {
        let most = limits.memory_bytes.min(self.capacity.memory_bytes);
        if memory_bytes > most || limits.runs == 0 {
            let message = format!(
                "a run of this job may take {} MiB of memory, and the tenant has {} MiB here",
                memory_bytes >> 20,
                most >> 20
            );
            return Err(Error::new(Kind::LimitExceeded, message)
                .hint("lower `limits: { memory: … }` or `parallelism` of the job, or raise `--memory` or the limits of the tenant"));
        }
        let tenant = self.tenants.entry(start.key.tenant.clone()).or_default();
        tenant.limits = limits;
        tenant.waiting.push_back(Claim {
            start,
            memory_bytes,
        });
        Ok(())
    }

    /// The next run to begin now, if one may.
    pub fn next(&mut self) -> Option<Start> {
        if self.active.len() >= self.capacity.runs as usize {
            return None;
        }
        let free = self.capacity.memory_bytes - self.memory_bytes;
        let ready = self.tenants.iter().filter(|(_, tenant)| {
            let first = tenant.waiting.front();
            first.is_some_and(|first| tenant.fits(first) && first.memory_bytes <= free)
        });
        let next = ready.min_by(|(_, a), (_, b)| {
            let load = a.load().total_cmp(&b.load());
            load.then(a.served.cmp(&b.served))
        });
        let name = next?.0.clone();
        let tenant = self.tenants.get_mut(&name)?;
        let claim = tenant.waiting.pop_front()?;
        self.turn += 1;
        tenant.served = self.turn;
        tenant.runs += 1;
        tenant.memory_bytes += claim.memory_bytes;
        self.memory_bytes += claim.memory_bytes;
        self.active
            .insert(claim.start.key.clone(), claim.memory_bytes);
        Some(claim.start)
    }

    /// The run of a job ended, or a waiting one is not wanted any more.
    pub fn release(&mut self, key: &JobKey) {
        let Some(tenant) = self.tenants.get_mut(&key.tenant) else {
            return;
        };
        match self.active.remove(key) {
            Some(memory_bytes) => {
                tenant.runs -= 1;
                tenant.memory_bytes -= memory_bytes;
                self.memory_bytes -= memory_bytes;
            }
            None => tenant.waiting.retain(|claim| claim.start.key != *key),
        }
        if tenant.runs == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(&key.tenant);
        }
    }

    pub fn waiting(&self) -> usize {
        self.tenants
            .values()
            .map(|tenant| tenant.waiting.len())
            .sum()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::timetable::Cause;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn start(tenant: &str, job: u32) -> Start {
        Start {
            key: JobKey {
                tenant: tenant.to_owned(),
                job: job.to_string(),
            },
            cause: Cause::Schedule,
            due: None,
            attempt: 1,
        }
    }

    fn limits(runs: u32, weight: u32) -> TenantLimits {
        TenantLimits {
            runs,
            weight,
            ..TenantLimits::default()
        }
    }

    fn admission(runs: u32, memory_mib: u64) -> Admission {
        Admission::new(Capacity {
            runs,
            memory_bytes: memory_mib * MIB,
        })
    }

    fn begun(admission: &mut Admission) -> String {
        let mut begun = String::new();
        while let Some(start) = admission.next() {
            begun.push_str(&start.key.tenant);
        }
        begun
    }

    #[test]
    fn a_tenant_with_many_jobs_does_not_keep_another_waiting() {
        let mut admission = admission(4, 1_000);
        for job in 0..100 {
            admission
                .offer(start("a", job), MIB, limits(100, 1))
                .unwrap();
        }
        admission.offer(start("b", 0), MIB, limits(100, 1)).unwrap();
        assert_eq!(begun(&mut admission), "abaa");
        admission.offer(start("c", 0), MIB, limits(100, 1)).unwrap();
        admission.release(&start("a", 0).key);
        assert_eq!(begun(&mut admission), "c");
    }

    #[test]
    fn places_are_shared_by_weight() {
        let mut admission = admission(8, 1_000);
        for job in 0..100 {
            admission
                .offer(start("a", job), MIB, limits(100, 3))
                .unwrap();
            admission
                .offer(start("b", job), MIB, limits(100, 1))
                .unwrap();
        }
        let begun = begun(&mut admission);
        assert_eq!(begun.matches('a').count(), 6, "{begun}");
    }

    #[test]
    fn neither_the_process_nor_a_tenant_passes_its_limits() {
        let mut admission = admission(10, 100);
        for job in 0..10 {
            admission
                .offer(start("a", job), 10 * MIB, limits(2, 1))
                .unwrap();
            admission
                .offer(start("b", job), 30 * MIB, limits(10, 1))
                .unwrap();
        }
        assert_eq!(begun(&mut admission), "abab");
        assert_eq!(admission.memory_bytes(), 80 * MIB);
        assert_eq!(admission.waiting(), 16);
        admission.release(&start("b", 0).key);
        assert_eq!(begun(&mut admission), "b");
        for tenant in ["a", "b"] {
            for job in 0..10 {
                admission.release(&start(tenant, job).key);
            }
        }
        assert_eq!((admission.waiting(), admission.memory_bytes()), (0, 0));
        assert!(admission.tenants.is_empty());
    }

    #[test]
    fn what_never_fits_is_refused_at_once() {
        let mut admission = admission(10, 100);
        let error = admission
            .offer(start("a", 0), 101 * MIB, limits(1, 1))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::LimitExceeded);
    }
}
