//! One process that runs the jobs of a directory when they are due.
//!
//! `fleet.rs` knows the files, `timetable.rs` the times, `admission.rs` what may begin; this does what they say. A run is the same as one of
//! `dativo-wasm run`: its lease and its end are in the run store, so that a process that was killed leaves nothing doubled or lost.

mod admission;
pub mod api;
mod clock;
mod execute;
mod fleet;
mod timetable;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use admission::Admission;
pub use admission::Capacity;
pub use clock::Clock;
use fleet::{Entry, Fleet, Scan};
use timetable::{Action, Before, Cause, Ended, Start, Timetable};

use crate::component::{Components, Stop};
use crate::error::{Error, Result};
use crate::job::LoadOptions;
use crate::pipeline::{self, Metrics};
use crate::plugins::Plugins;
use crate::runs::{JobKey, RunStore};
use crate::telemetry::Telemetry;

/// How often the directory is looked at.
const SCAN_EVERY: Duration = Duration::from_secs(2);

/// How often runs that ended long ago are removed from the run store.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);

/// What a process that serves is started with.
pub struct Settings {
    pub jobs: PathBuf,
    pub options: LoadOptions,
    pub plugins: Plugins,
    pub capacity: Capacity,
    pub clock: Clock,
    /// How long ended runs are listed; all of them, where it is not said.
    pub history: Option<Duration>,
    /// How long active runs may go on once the process is to end.
    pub drain: Duration,
}

/// The process: shared by its loop, its runs and those who ask over HTTP.
pub struct Server {
    settings: Settings,
    store: RunStore,
    components: Components,
    telemetry: Arc<Telemetry>,
    fleet: Mutex<Fleet>,
    inner: Mutex<Inner>,
    /// Something changed that the loop should look at.
    changed: Notify,
    /// A run ended.
    ended: Notify,
    started: Instant,
}

struct Inner {
    timetable: Timetable,
    admission: Admission,
    entries: HashMap<JobKey, Entry>,
    active: HashMap<JobKey, Active>,
    /// No further run begins.
    is_draining: bool,
    counts: BTreeMap<String, Counts>,
}

impl Inner {
    /// What is counted of a tenant.
    fn counts(&mut self, tenant: &str) -> &mut Counts {
        self.counts.entry(tenant.to_owned()).or_default()
    }
}

/// Of one tenant, since the process started.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub skipped: u64,
    pub rows_written: u64,
    pub bytes_written: u64,
    /// That runs took.
    pub milliseconds: u64,
}

/// A run that waits for its turn or goes on.
#[derive(Clone)]
struct Active {
    run_id: String,
    cause: Cause,
    attempt: u32,
    /// None while it waits.
    began: Option<DateTime<Utc>>,
    metrics: Arc<Metrics>,
    switch: Arc<watch::Sender<bool>>,
    stop: Stop,
}

impl Server {
    pub fn new(
        settings: Settings,
        store: RunStore,
        components: Components,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            fleet: Mutex::new(Fleet::new(&settings.jobs, settings.options.clone())),
            inner: Mutex::new(Inner {
                timetable: Timetable::default(),
                admission: Admission::new(settings.capacity),
                entries: HashMap::new(),
                active: HashMap::new(),
                is_draining: false,
                counts: BTreeMap::new(),
            }),
            settings,
            store,
            components,
            telemetry: Arc::new(telemetry),
            changed: Notify::new(),
            ended: Notify::new(),
            started: Instant::now(),
        }
    }

    /// Looks at the directory for the first time, and begins what was missed or cut short.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        tracing::info!(event = "orchestrator_started", jobs = %self.settings.jobs.display());
        self.scan().await
    }

    /// Runs jobs until `stop`; then lets active runs end, for as long as the settings say or until `now` is asked for.
    pub async fn run(self: &Arc<Self>, mut stop: Stop, mut now: Stop) {
        let mut last_scan = Instant::now();
        let mut last_forget: Option<Instant> = None;
        loop {
            if last_forget.is_none_or(|last| last.elapsed() >= FORGET_EVERY) {
                self.forget().await;
                last_forget = Some(Instant::now());
            }
            if last_scan.elapsed() >= SCAN_EVERY {
                if let Err(error) = self.scan().await {
                    tracing::warn!(event = "jobs_load_error", problem = error.message());
                }
                last_scan = Instant::now();
            }
            self.tick(self.settings.clock.now());
            let until_scan = SCAN_EVERY.saturating_sub(last_scan.elapsed());
            let wait = self
                .until_wake()
                .map_or(until_scan, |wake| wake.min(until_scan));
            tokio::select! {
                () = stop.requested() => break,
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
        self.drain(&mut now).await;
        self.telemetry.close().await;
        tracing::info!(event = "orchestrator_stopped");
    }

    /// Looks at the directory, and begins what was missed or cut short.
    async fn scan(self: &Arc<Self>) -> Result<()> {
        let server = self.clone();
        let scan = tokio::task::spawn_blocking(move || {
            // Asked first: where the store is out of reach, files are looked at once it is back.
            let unsettled = server.store.unsettled()?;
            let mut fleet = lock(&server.fleet);
            let mut scan = fleet.scan()?;
            if scan.set.is_empty() {
                return Ok((scan, HashMap::new(), unsettled));
            }
            // Asked for once a look that found something, not for each job.
            let dealt_with = server.store.dealt_with().unwrap_or_else(|error| {
                tracing::warn!(event = "jobs_load_error", problem = error.message());
                fleet.read_again();
                scan.set.clear();
                HashMap::new()
            });
            Ok::<_, Error>((scan, dealt_with, unsettled))
        });
        let (scan, dealt_with, unsettled) = scan.await.map_err(|error| {
            Error::internal("the folder of jobs could not be looked at").caused_by(error)
        })??;
        let Scan { set, removed } = scan;
        let now = self.settings.clock.now();
        let mut actions = Vec::new();
        let mut inner = self.lock();
        for key in removed {
            inner.timetable.remove(&key);
            inner.entries.remove(&key);
            // One that is active goes on; one that waits never begins.
            if inner
                .active
                .get(&key)
                .is_some_and(|active| active.began.is_none())
            {
                inner.active.remove(&key);
                inner.admission.release(&key);
            }
        }
        for entry in set {
            let due = dealt_with.get(&entry.key).copied();
            let due = due.and_then(DateTime::from_timestamp_millis);
            let before = Before {
                dealt_with: due,
                is_cut_short: unsettled.iter().any(|job| job.key == entry.key),
                is_active: inner.active.contains_key(&entry.key),
            };
            let (key, timing) = (entry.key.clone(), entry.timing.clone());
            inner.entries.insert(key.clone(), entry);
            actions.extend(inner.timetable.set(&key, timing, before, now));
        }
        // What a process gave back it tries again itself.
        for job in unsettled.iter().filter(|job| !job.is_given_back) {
            actions.extend(inner.timetable.recover(&job.key));
        }
        drop(inner);
        self.act(actions);
        Ok(())
    }

    /// Removes runs that ended long ago.
    async fn forget(&self) {
        let Some(history) = self.settings.history else {
            return;
        };
        let history = i64::try_from(history.as_secs()).unwrap_or(i64::MAX);
        let before = Utc::now().timestamp().saturating_sub(history);
        let store = self.store.clone();
        let forgetting = tokio::task::spawn_blocking(move || store.forget(before));
        if let Ok(Err(error)) = forgetting.await {
            tracing::warn!(problem = error.message(), "old runs were not removed");
        }
    }

    /// Begins what is due.
    fn tick(self: &Arc<Self>, now: DateTime<Utc>) {
        let actions = self.lock().timetable.tick(now);
        self.act(actions);
    }

    fn until_wake(&self) -> Option<Duration> {
        let wake = self.lock().timetable.next_wake()?;
        let wait = (wake - self.settings.clock.now()).to_std();
        Some(wait.unwrap_or_default() / self.settings.clock.speed())
    }

    fn act(self: &Arc<Self>, actions: Vec<Action>) {
        let mut inner = self.lock();
        for action in actions {
            match action {
                Action::Start(start) => {
                    self.offer(&mut inner, start);
                }
                Action::Stop(key) => {
                    if let Some(active) = inner.active.get(&key) {
                        active.switch.send_replace(true);
                    }
                }
                Action::Skipped(key, due) => {
                    inner.counts(&key.tenant).skipped += 1;
                    tracing::warn!(event = "schedule_skipped", tenant = key.tenant, job = key.job, due = %due, "the run before has not ended");
                }
            }
        }
        self.admit(&mut inner);
    }

    /// Puts a run among those that wait for their turn, and gives its id, also where it can never have one.
    fn offer(&self, inner: &mut Inner, start: Start) -> Option<String> {
        let entry = inner.entries.get(&start.key);
        let entry = entry.filter(|_| !inner.is_draining)?;
        let splits = entry
            .parallelism
            .unwrap_or_else(|| pipeline::default_parallelism().get());
        // A reader and a writer for each split, and what opens them.
        let memory_bytes = entry.memory_bytes.saturating_mul(2 * u64::from(splits));
        let (switch, stop) = Stop::switch();
        let active = Active {
            run_id: pipeline::new_run_id(),
            cause: start.cause,
            attempt: start.attempt,
            began: None,
            metrics: Arc::default(),
            switch: Arc::new(switch),
            stop,
        };
        let (key, limits) = (start.key.clone(), entry.limits);
        let run_id = active.run_id.clone();
        match inner.admission.offer(start.clone(), memory_bytes, limits) {
            Ok(()) => {
                inner.active.insert(key, active);
            }
            Err(error) => {
                self.refuse(&start, &run_id, &[error]);
                inner.counts(&key.tenant).failed += 1;
                inner
                    .timetable
                    .ended(&key, Ended::Badly, self.settings.clock.now());
            }
        }
        Some(run_id)
    }

    /// Begins runs for as long as there is room.
    fn admit(self: &Arc<Self>, inner: &mut Inner) {
        while let Some(start) = inner.admission.next() {
            let entry = inner.entries.get(&start.key).cloned();
            let (Some(entry), Some(active)) = (entry, inner.active.get_mut(&start.key)) else {
                inner.admission.release(&start.key);
                continue;
            };
            active.began = Some(self.settings.clock.now());
            let (server, active) = (self.clone(), active.clone());
            tokio::spawn(async move {
                // A panic in a run is the end of that run alone.
                let cpu = server.components.cpu(&start.key.tenant);
                let run = server.clone().execute(start.clone(), entry, active);
                let running = tokio::spawn(cpu.task(run));
                let ended = running.await.unwrap_or(Ended::Badly);
                server.finish(&start.key, ended);
            });
        }
    }

    /// A run gave its place back.
    fn finish(self: &Arc<Self>, key: &JobKey, ended: Ended) {
        let mut inner = self.lock();
        inner.active.remove(key);
        inner.admission.release(key);
        let actions = inner.timetable.ended(key, ended, self.settings.clock.now());
        drop(inner);
        self.act(actions);
        self.changed.notify_one();
        self.ended.notify_waiters();
    }

    /// Lets active runs end; those that wait do not begin.
    async fn drain(&self, now: &mut Stop) {
        {
            let mut inner = self.lock();
            inner.is_draining = true;
            let waiting: Vec<JobKey> = inner
                .active
                .iter()
                .filter(|(_, active)| active.began.is_none())
                .map(|(key, _)| key.clone())
                .collect();
            for key in waiting {
                inner.active.remove(&key);
                inner.admission.release(&key);
            }
        }
        tracing::info!(
            event = "orchestrator_draining",
            active = self.lock().active.len()
        );
        tokio::select! {
            () = self.idle() => return,
            () = tokio::time::sleep(self.settings.drain) => {}
            () = now.requested() => {}
        }
        for active in self.lock().active.values() {
            active.switch.send_replace(true);
        }
        // What they staged is removed, which calls of components bound.
        self.idle().await;
    }

    async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().active.is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
