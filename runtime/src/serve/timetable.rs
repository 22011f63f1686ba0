//! Which runs are due: times, overlaps, what was missed, tries again.
//!
//! Pure: no I/O, no clock. Told what happened and what time it is, it says what to do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::job::{CatchUp, Overlap, Timing};
use crate::runs::JobKey;

type Time = DateTime<Utc>;

/// How often a run that waits for one in another process tries to begin.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// The pause before the first try again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Why a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Schedule,
    /// It was due while nobody was there to start it.
    CatchUp,
    /// The one before failed for a reason that may pass.
    Retry,
    /// Somebody asked for it.
    Trigger,
    /// A run was cut short, and what became of it is not settled.
    Recovery,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::CatchUp => "catch_up",
            Self::Retry => "retry",
            Self::Trigger => "trigger",
            Self::Recovery => "recovery",
        }
    }
}

/// Times of a schedule that one run stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub first: Time,
    /// All times up to this one are dealt with.
    pub last: Time,
}

/// A run to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub key: JobKey,
    pub cause: Cause,
    pub due: Option<Due>,
    /// From 1.
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Start(Start),
    /// Stop the run that is active; the next one begins when it has ended.
    Stop(JobKey),
    /// A time of the schedule at which the run before had not ended.
    Skipped(JobKey, Time),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// Trying again may help, at the earliest after this.
    MayPass(Duration),
    Badly,
    /// It did not begin: another process did what it was for.
    Elsewhere,
    /// It did not begin: another process has a run of the job.
    Busy(Start),
    /// It did not begin: the run store could not be asked.
    Unknown(Start),
}

/// What is known of a job that the timetable does not know yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before {
    /// The last time of its schedule that a run was begun for.
    pub dealt_with: Option<Time>,
    /// A run of it was begun and has no end.
    pub is_cut_short: bool,
    /// A run of it is active here: its file was gone for a while.
    pub is_active: bool,
}

/// The jobs, and what each waits for.
#[derive(Default)]
pub struct Timetable {
    jobs: HashMap<JobKey, Job>,
    /// Times at which something may be due. One that no job waits for any more means nothing.
    wakes: BinaryHeap<Reverse<(Time, JobKey)>>,
}

struct Job {
    timing: Option<Timing>,
    /// The next time of the schedule, and when its run begins.
    next: Option<(Time, Time)>,
    active: bool,
    attempt: u32,
    /// A run that begins when the active one has ended.
    waiting: Option<Start>,
    retry: Option<(Time, Start)>,
}

impl Timetable {
    /// A job that is new, or whose file changed.
    pub fn set(
        &mut self,
        key: &JobKey,
        timing: Option<Timing>,
        before: Before,
        now: Time,
    ) -> Vec<Action> {
        let known = self.jobs.get(key).map(|job| &job.timing);
        if known == Some(&timing) {
            return Vec::new();
        }
        let is_new = known.is_none();
        let mut missed = None;
        if let (true, Some(timing), Some(before)) = (is_new, &timing, before.dealt_with) {
            missed = timing.schedule.next(before).filter(|first| *first <= now);
            missed = missed.filter(|_| timing.catch_up == CatchUp::One);
        }
        let job = self.jobs.entry(key.clone()).or_insert(Job {
            timing: None,
            next: None,
            active: before.is_active,
            attempt: 1,
            waiting: None,
            retry: None,
        });
        job.timing = timing;
        self.plan(key, now);
        let cause = match missed {
            Some(_) => Cause::CatchUp,
            None if is_new && before.is_cut_short && !before.is_active => Cause::Recovery,
            None => return Vec::new(),
        };
        self.begin(Start {
            key: key.clone(),
            cause,
            due: missed.map(|first| Due { first, last: now }),
            attempt: 1,
        })
    }

    /// A job whose file is gone or broken: no run of it begins. An active one goes on.
    pub fn remove(&mut self, key: &JobKey) {
        self.jobs.remove(key);
    }

    /// What is due at `now`.
    pub fn tick(&mut self, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(Reverse((at, _))) = self.wakes.peek()
            && *at <= now
        {
            let Some(Reverse((at, key))) = self.wakes.pop() else {
                break;
            };
            actions.extend(self.wake(key, at, now));
        }
        actions
    }

    /// When to look again.
    pub fn next_wake(&self) -> Option<Time> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    /// The next time of a job's schedule.
    pub fn next(&self, key: &JobKey) -> Option<Time> {
        self.jobs.get(key)?.next.map(|(at, _)| at)
    }

    /// Somebody asks for a run: none where one is active, or the job is not known.
    pub fn trigger(&mut self, key: &JobKey) -> Option<Start> {
        let job = self.jobs.get(key)?;
        if job.active {
            return None;
        }
        let start = Start {
            key: key.clone(),
            cause: Cause::Trigger,
            due: None,
            attempt: 1,
        };
        match self.begin(start).pop() {
            Some(Action::Start(start)) => Some(start),
            _ => None,
        }
    }

    /// A run of the job ended.
    pub fn ended(&mut self, key: &JobKey, ended: Ended, now: Time) -> Vec<Action> {
        let Some(job) = self.jobs.get_mut(key) else {
            return Vec::new();
        };
        job.active = false;
        if let Some(waiting) = job.waiting.take() {
            return self.begin(waiting);
        }
        let (retries, overlap) = match &job.timing {
            Some(timing) => (timing.retries, timing.overlap),
            None => (0, Overlap::Skip),
        };
        let (wait, start) = match ended {
            Ended::MayPass(least) if job.attempt <= retries => {
                let start = Start {
                    key: key.clone(),
                    cause: Cause::Retry,
                    due: None,
                    attempt: job.attempt + 1,
                };
                (pause(job.attempt).max(least), start)
            }
            Ended::Busy(Start { due: Some(due), .. }) if overlap == Overlap::Skip => {
                return vec![Action::Skipped(key.clone(), due.first)];
            }
            Ended::Busy(start) if start.due.is_some() => (BUSY_PAUSE, start),
            // Nothing says that it was done, so that there is no last try.
            Ended::Unknown(start) => {
                let attempt = start.attempt + 1;
                (pause(start.attempt), Start { attempt, ..start })
            }
            _ => return Vec::new(),
        };
        let at = now + wait;
        job.retry = Some((at, start));
        self.wakes.push(Reverse((at, key.clone())));
        Vec::new()
    }

    /// A run of the job was cut short in another process. None where one is active here.
    pub fn recover(&mut self, key: &JobKey) -> Vec<Action> {
        if self.jobs.get(key).is_none_or(|job| job.active) {
            return Vec::new();
        }
        self.begin(Start {
            key: key.clone(),
            cause: Cause::Recovery,
            due: None,
            attempt: 1,
        })
    }

    fn wake(&mut self, key: JobKey, at: Time, now: Time) -> Vec<Action> {
        let Some(job) = self.jobs.get_mut(&key) else {
            return Vec::new();
        };
        if let Some((due, begins)) = job.next
            && begins == at
        {
            // Several may have passed since, where the machine slept.
            self.plan(&key, now.max(due));
            return self.begin(Start {
                key,
                cause: Cause::Schedule,
                due: Some(Due {
                    first: due,
                    last: now.max(due),
                }),
                attempt: 1,
            });
        }
        match job.retry.take() {
            Some((retry, start)) if retry == at && !job.active => self.begin(start),
            other => {
                job.retry = other;
                Vec::new()
            }
        }
    }

    /// The next time after `now`, and its place among the wakes.
    fn plan(&mut self, key: &JobKey, now: Time) {
        let Some(job) = self.jobs.get_mut(key) else {
            return;
        };
        job.next = job.timing.as_ref().and_then(|timing| {
            let at = timing.schedule.next(now)?;
            Some((at, at + jitter(key, at, timing.jitter)))
        });
        if let Some((_, begins)) = job.next {
            self.wakes.push(Reverse((begins, key.clone())));
        }
    }

    fn begin(&mut self, start: Start) -> Vec<Action> {
        let Some(job) = self.jobs.get_mut(&start.key) else {
            return Vec::new();
        };
        if !job.active {
            job.active = true;
            job.attempt = start.attempt;
            job.retry = None;
            return vec![Action::Start(start)];
        }
        let overlap = job
            .timing
            .as_ref()
            .map_or(Overlap::Skip, |timing| timing.overlap);
        let key = start.key.clone();
        match overlap {
            Overlap::Skip => {
                let at = start.due.map(|due| due.first).unwrap_or_default();
                vec![Action::Skipped(key, at)]
            }
            Overlap::Queue => {
                job.waiting = Some(start);
                Vec::new()
            }
            Overlap::Cancel => {
                job.waiting = Some(start);
                vec![Action::Stop(key)]
            }
        }
    }
}

/// Before try `attempt + 1`.
fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << attempt.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
}

/// A part of `most` that is the same for this job and time wherever it is asked.
fn jitter(key: &JobKey, at: Time, most: Duration) -> Duration {
    use sha2::{Digest, Sha256};
    let text = format!("{}/{}/{}", key.tenant, key.job, at.timestamp());
    let digest = Sha256::digest(text);
    let part = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    most.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
