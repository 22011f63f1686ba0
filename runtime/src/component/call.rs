//! One call into a guest: its deadlines, and what its end means.
//!
//! A call ends in one of five ways: an answer, an error that the guest returned, a trap, its time is
//! up, or the run was stopped. After all but the first the instance is gone.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use wasmtime::{Store, Trap};

use super::bindings::imports::types::{Error as WitError, ErrorKind};
use super::state::State;
use crate::error::{Error, Kind, Result};

/// The longest message that is taken from a guest, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Tells instances that the run is to end. Clones see the same signal.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The switch and what listens to it.
    pub fn switch() -> (watch::Sender<bool>, Stop) {
        let (sender, receiver) = watch::channel(false);
        (sender, Stop(receiver))
    }

    /// A signal that never comes: for calls that clean up after one that did.
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Resolves when the run is to end.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// How a call ended.
pub enum Answer<T> {
    Returned(wasmtime::Result<Result<T, WitError>>),
    TimedOut(Duration),
    Stopped,
}

/// Waits for a call at most `limit`; dropping its future is what ends a call that waits for I/O.
pub async fn within<T>(
    limit: Duration,
    mut stop: Stop,
    call: impl Future<Output = wasmtime::Result<Result<T, WitError>>>,
) -> Answer<T> {
    tokio::select! {
        biased;
        () = stop.requested() => Answer::Stopped,
        answer = tokio::time::timeout(limit, call) => match answer {
            Ok(returned) => Answer::Returned(returned),
            Err(_) => Answer::TimedOut(limit),
        },
    }
}

/// Translates how `function` of `who` (``reader `orders` ``) ended.
pub fn outcome<T>(
    store: &mut Store<State>,
    who: &str,
    function: &str,
    answer: Answer<T>,
) -> Result<T> {
    match answer {
        Answer::Returned(Ok(Ok(value))) => Ok(value),
        Answer::Returned(Ok(Err(error))) => {
            let secrets = store.data().scope.secrets.clone();
            let budget = &store.data().budget;
            if let (ErrorKind::InvalidData, Some(invalid)) = (error.kind, budget.invalid()) {
                return Err(not_arrow(who, function, invalid));
            }
            let refused = budget.refused().map(str::to_owned);
            Err(returned_error(who, function, error, refused, |text| {
                secrets.mask(text)
            }))
        }
        Answer::Returned(Err(trap)) => Err(trapped(store, who, function, &trap)),
        Answer::TimedOut(limit) => Err(Error::new(
            Kind::LimitExceeded,
            format!(
                "{who} did not return from `{function}` within {}",
                humantime::format_duration(limit)
            ),
        )
        .hint("raise `limits: { call_timeout: ... }` if the source or target is slow")),
        Answer::Stopped => Err(Error::new(Kind::Cancelled, "the run was stopped")),
    }
}

/// The guest failed on bytes that it handed over as Arrow and that are not.
fn not_arrow(who: &str, function: &str, invalid: &Error) -> Error {
    Error::new(
        Kind::DataInvalid,
        format!("{who} handed over a batch that is not valid Arrow IPC"),
    )
    .with("call", function)
    .caused_by(invalid)
    .hint("this is a defect of the component; its author needs this message")
}

fn returned_error(
    who: &str,
    function: &str,
    error: WitError,
    refused: Option<String>,
    mask: impl Fn(&str) -> String,
) -> Error {
    let message = one_line(&mask(&error.message));
    let kind = match error.kind {
        ErrorKind::InvalidConfig => Kind::JobInvalid,
        ErrorKind::Denied => Kind::Denied,
        ErrorKind::NotFound | ErrorKind::Rejected => Kind::Rejected,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::InvalidData => Kind::ContractBroken,
        ErrorKind::LimitExceeded => Kind::LimitExceeded,
        ErrorKind::Internal => Kind::GuestFailed,
    };
    let mut translated = if let (Kind::LimitExceeded, Some(refused)) = (kind, refused) {
        Error::new(kind, format!("{who} {refused}")).hint("raise `limits: { memory: ... }`")
    } else {
        Error::new(kind, message)
    };
    translated = translated.with("component", who).with("call", function);
    if let Some(wait) = error.retry_after_ms {
        translated = translated.after(Duration::from_millis(wait));
    }
    match error.hint {
        Some(hint) => translated.hint(one_line(&mask(&hint))),
        None => translated,
    }
}

/// A guest's text as one bounded line without control characters.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    if line.len() > MAX_MESSAGE_BYTES {
        let cut = (0..=MAX_MESSAGE_BYTES)
            .rev()
            .find(|&at| line.is_char_boundary(at))
            .unwrap_or(0);
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// The error of a call that trapped, or that an instance could not be made for.
pub fn trapped(store: &Store<State>, who: &str, function: &str, trap: &wasmtime::Error) -> Error {
    let state = store.data();
    if let Some(refused) = state.budget.refused() {
        return Error::new(Kind::LimitExceeded, format!("{who} {refused}"))
            .with("call", function)
            .hint("raise `limits: { memory: ... }` if the data needs it");
    }
    if let Some(invalid) = state.budget.invalid() {
        return not_arrow(who, function, invalid);
    }
    let tail = one_line(&state.log.tail());
    match trap.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) if state.cpu_exhausted() => Error::new(
            Kind::LimitExceeded,
            format!("{who} used more CPU time in `{function}` than one call may"),
        )
        .hint("raise `limits: { cpu_per_call: ... }` if the work needs it"),
        Some(Trap::StackOverflow) => Error::new(
            Kind::LimitExceeded,
            format!("{who} overflowed its stack in `{function}`"),
        )
        .caused_by(tail),
        Some(reason) => Error::new(Kind::GuestTrapped, format!("{who} trapped in `{function}`"))
            .caused_by(tail)
            .caused_by(reason),
        None => Error::new(
            Kind::GuestTrapped,
            format!("{who} broke the contract in `{function}`"),
        )
        .caused_by(tail)
        .caused_by(one_line(&trap.root_cause().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_message_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\x1b[2J"), "a b [2J");
        let long = one_line(&"é".repeat(MAX_MESSAGE_BYTES));
        assert!(long.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8() && long.ends_with('…'));
    }
}
