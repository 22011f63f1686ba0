//! What a process that serves shows of itself, and what is asked of it from outside.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::fleet::{Broken, Entry};
use super::timetable::Ended;
use super::{Active, Counts, Inner, Server, lock};
use crate::pipeline::Totals;
use crate::runs::{JobKey, RunStore};

/// A job as others see it.
pub struct JobView {
    pub key: JobKey,
    pub schedule: Option<(String, String)>,
    pub next: Option<DateTime<Utc>>,
    pub active: Option<ActiveView>,
}

pub struct ActiveView {
    pub run_id: String,
    pub cause: &'static str,
    pub attempt: u32,
    pub began: Option<DateTime<Utc>>,
    pub totals: Totals,
}

/// For those who ask over HTTP.
impl Server {
    /// The jobs of a tenant, or all, by name.
    pub fn jobs(&self, tenant: Option<&str>) -> Vec<JobView> {
        let inner = self.lock();
        let entries = inner.entries.values();
        let own = entries.filter(|entry| tenant.is_none_or(|tenant| tenant == entry.key.tenant));
        let mut jobs: Vec<JobView> = own.map(|entry| view(&inner, entry)).collect();
        jobs.sort_by(|a, b| a.key.cmp(&b.key));
        jobs
    }

    pub fn job(&self, key: &JobKey) -> Option<JobView> {
        let inner = self.lock();
        inner.entries.get(key).map(|entry| view(&inner, entry))
    }

    /// Files that are no jobs; a tenant sees those in its folder.
    pub fn broken(&self, tenant: Option<&str>) -> Vec<Broken> {
        let fleet = lock(&self.fleet);
        fleet
            .broken()
            .filter(|broken| tenant.is_none() || broken.tenant.as_deref() == tenant)
            .collect()
    }

    /// Begins a run now, and gives its id. None where one is active or waits.
    pub fn trigger(self: &Arc<Self>, key: &JobKey) -> Option<String> {
        let mut inner = self.lock();
        if inner.is_draining {
            return None;
        }
        let start = inner.timetable.trigger(key)?;
        let run_id = self.offer(&mut inner, start);
        self.admit(&mut inner);
        run_id
    }

    /// Stops a run that is active, or takes it out of those that wait.
    pub fn cancel(self: &Arc<Self>, run_id: &str, tenant: Option<&str>) -> bool {
        let mut inner = self.lock();
        let own = |key: &JobKey| tenant.is_none_or(|tenant| tenant == key.tenant);
        let found = inner
            .active
            .iter()
            .find(|(key, active)| active.run_id == run_id && own(key));
        let Some((key, active)) = found.map(|(key, active)| (key.clone(), active.clone())) else {
            return false;
        };
        active.switch.send_replace(true);
        if active.began.is_none() {
            inner.active.remove(&key);
            inner.admission.release(&key);
            inner
                .timetable
                .ended(&key, Ended::Badly, self.settings.clock.now());
        }
        true
    }

    pub fn active(&self, run_id: &str) -> Option<(JobKey, ActiveView)> {
        let inner = self.lock();
        let found = inner
            .active
            .iter()
            .find(|(_, active)| active.run_id == run_id);
        found.map(|(key, active)| (key.clone(), active_view(active)))
    }

    pub fn store(&self) -> &RunStore {
        &self.store
    }

    /// What was counted, by tenant; of one alone, or of all.
    pub fn counts(&self, tenant: Option<&str>) -> Vec<(String, Counts)> {
        let inner = self.lock();
        let known = inner.counts.iter();
        let own = known.filter(|(known, _)| tenant.is_none_or(|tenant| tenant == *known));
        own.map(|(known, counts)| (known.clone(), *counts))
            .collect()
    }

    /// Jobs, active runs, runs that wait, and memory that active ones may take.
    pub fn figures(&self) -> (usize, usize, usize, u64, Duration) {
        let inner = self.lock();
        let waiting = inner.admission.waiting();
        let memory = inner.admission.memory_bytes();
        let active = inner.active.len() - waiting.min(inner.active.len());
        (
            inner.entries.len(),
            active,
            waiting,
            memory,
            self.started.elapsed(),
        )
    }
}

fn view(inner: &Inner, entry: &Entry) -> JobView {
    let schedule = entry.timing.as_ref().map(|timing| {
        let schedule = &timing.schedule;
        (
            schedule.as_str().to_owned(),
            schedule.timezone().to_string(),
        )
    });
    JobView {
        key: entry.key.clone(),
        schedule,
        next: inner.timetable.next(&entry.key),
        active: inner.active.get(&entry.key).map(active_view),
    }
}

fn active_view(active: &Active) -> ActiveView {
    ActiveView {
        run_id: active.run_id.clone(),
        cause: active.cause.name(),
        attempt: active.attempt,
        began: active.began,
        totals: active.metrics.totals(),
    }
}
