//! Ends a run that must not go on: a signal, its deadline, a lost lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::component::Stop;
use crate::error::{Error, Kind};
use crate::runs::Lease;

/// How often the lease of a run is renewed; it expires after three missed renewals.
const LEASE_RENEWAL: Duration = Duration::from_secs(8);

/// Watches over one run while it exists, and holds its lease.
pub struct Guard {
    switch: Arc<watch::Sender<bool>>,
    stop: Stop,
    reason: Arc<Mutex<Option<Error>>>,
    watching: tokio::task::JoinHandle<()>,
    lease: Held,
}

/// The lease, to be given back when the guard ends, whatever its task does.
type Held = Arc<Mutex<Option<Lease>>>;

impl Guard {
    /// Starts the clock of `deadline` and renews `lease` until dropped.
    pub fn start(lease: Lease, deadline: Duration, user: Stop) -> Self {
        let (switch, stop) = Stop::switch();
        let switch = Arc::new(switch);
        let reason = Arc::default();
        let lease: Held = Arc::new(Mutex::new(Some(lease)));
        let watching = tokio::spawn(watch(
            lease.clone(),
            deadline,
            user,
            switch.clone(),
            Arc::clone(&reason),
        ));
        Self {
            switch,
            stop,
            reason,
            watching,
            lease,
        }
    }

    /// The signal that every call of the run listens to.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Ends every call of the run.
    pub fn stop_all(&self) {
        self.switch.send_replace(true);
    }

    /// Why the guard ended the run, if it did.
    pub fn reason(&self) -> Option<Error> {
        self.reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watching.abort();
        drop(
            self.lease
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

async fn watch(
    lease: Held,
    deadline: Duration,
    mut user: Stop,
    switch: Arc<watch::Sender<bool>>,
    reason: Arc<Mutex<Option<Error>>>,
) {
    let end = |error: Error| {
        let mut reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert(error);
        switch.send_replace(true);
    };
    let time_is_up = tokio::time::sleep(deadline);
    tokio::pin!(time_is_up);
    let (mut signalled, mut late) = (false, false);
    // The lease is renewed to the end, also while the run cleans up or commits.
    loop {
        tokio::select! {
            () = user.requested(), if !signalled => {
                signalled = true;
                end(Error::new(Kind::Cancelled, "a signal stopped the run")
                    .hint("nothing was published; run the job again to start over from its last commit"));
            }
            () = &mut time_is_up, if !late => {
                late = true;
                end(Error::new(
                    Kind::LimitExceeded,
                    format!("the run took longer than {}", humantime::format_duration(deadline)),
                )
                .hint("raise `limits: { deadline: ... }`"));
            }
            () = tokio::time::sleep(LEASE_RENEWAL) => {
                let lease = lease.clone();
                // The store may be busy for seconds. Only a lease that another run has taken ends this one.
                let renewed = tokio::task::spawn_blocking(move || {
                    let lease = lease.lock().unwrap_or_else(PoisonError::into_inner);
                    lease.as_ref().map_or(Ok(false), Lease::renew)
                });
                match renewed.await {
                    Ok(Ok(true)) => end(Error::new(Kind::Cancelled, "the run was cancelled")
                        .hint("nothing was published; run the job again to start over from its last commit")),
                    Ok(Err(error)) if error.kind() == Kind::StateConflict => end(error),
                    Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed; trying again"),
                    _ => {}
                }
            }
        }
    }
}
