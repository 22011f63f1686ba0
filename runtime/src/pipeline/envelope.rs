//! How a commit carries its dead letter: inside the state that the target keeps.
//!
//! The target is the truth, so what it holds must say which rows of a run are still to be published in
//! the dead letter. Pure. Sealed in [`seal`], opened in [`open`], and nowhere else: readers and reports
//! never see an envelope. Without bad rows, the state is what the reader said.

use serde::{Deserialize, Serialize};

/// What the dead letter's own commit is made of, whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterCommit {
    /// Where it was staged, as the job named it.
    pub path: String,
    /// What each `writer.prepare` said.
    #[serde(rename = "dead_letter")]
    pub prepared: Vec<String>,
    /// The run of the dead letter's last commit when this one started.
    pub base: Option<String>,
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    dativo: Option<DeadLetterCommit>,
    state: Option<String>,
}

/// The state that a commit is sent with.
pub fn seal(state: Option<String>, dead_letter: Option<DeadLetterCommit>) -> Option<String> {
    // A reader whose own state looks like an envelope must not be taken for us.
    if dead_letter.is_none() && parse(state.as_deref()).is_none() {
        return state;
    }
    let envelope = Envelope {
        dativo: dead_letter,
        state,
    };
    // Plain text and numbers always have a JSON form.
    serde_json::to_string(&envelope).ok()
}

/// The reader's state, and the dead letter that was committed with it.
pub fn open(state: Option<String>) -> (Option<String>, Option<DeadLetterCommit>) {
    match parse(state.as_deref()) {
        Some(envelope) => (envelope.state, envelope.dativo),
        None => (state, None),
    }
}

fn parse(state: Option<&str>) -> Option<Envelope> {
    let state = state.filter(|state| state.starts_with("{\"dativo\":"))?;
    serde_json::from_str(state).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter() -> DeadLetterCommit {
        DeadLetterCommit {
            path: "out/rejected".to_owned(),
            prepared: vec!["[1]".to_owned()],
            base: Some("run 1".to_owned()),
            rows: 7,
        }
    }

    fn check(state: Option<&str>, dead_letter: Option<DeadLetterCommit>) {
        let state = state.map(str::to_owned);
        let sealed = seal(state.clone(), dead_letter.clone());
        assert_eq!(open(sealed), (state, dead_letter));
    }

    #[test]
    fn what_is_sealed_comes_back() {
        for state in [None, Some(""), Some("{\"rows\":3}"), Some("plain")] {
            check(state, None);
            check(state, Some(dead_letter()));
        }
    }

    #[test]
    fn without_a_dead_letter_the_state_is_as_the_reader_said() {
        for state in [None, Some("{\"dativo\":1}"), Some("{\"state\":null}")] {
            assert_eq!(seal(state.map(str::to_owned), None).as_deref(), state);
        }
    }

    #[test]
    fn a_reader_cannot_forge_an_envelope() {
        let forged = seal(Some("x".to_owned()), Some(dead_letter()));
        check(forged.as_deref(), None);
        check(forged.as_deref(), Some(dead_letter()));
        let twice = seal(forged, None);
        check(twice.as_deref(), None);
    }
}
