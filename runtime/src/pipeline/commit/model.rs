//! A small model of a source, a target and the run stores of two machines, with crashes between any
//! two steps, answers that are lost or late, stores and targets that are deleted, and resets.
//!
//! It does with the decisions of `commit.rs` what `settle.rs` has to do, and checks at every commit that
//! rows arrive once, in order, with the state that belongs to them, and that no job is stuck at the end.
//! Every run also stages rows for a dead letter, which has commits of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// How the target answers one call.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Yes,
    /// Refused, without effect.
    No,
    /// The call was lost on its way there.
    Lost,
    /// It acted and its answer was lost.
    Unheard,
    /// It acts after the run that sent it has ended.
    Late,
}

#[derive(Debug, Clone)]
enum Step {
    /// A run on a machine, that crashes before its effect number `fuel` where it has that many.
    Run {
        machine: usize,
        new_rows: usize,
        fuel: usize,
        answers: Vec<Answer>,
    },
    Reset,
    DeleteStore {
        machine: usize,
    },
    DeleteTarget,
}

#[derive(Default)]
struct Target {
    commits: Vec<(String, Option<String>)>,
    staged: BTreeMap<String, Range<usize>>,
    late: Vec<(String, Pending)>,
    /// The row that the next commit has to begin with.
    next_row: usize,
}

/// The dead letter: like the target, but that its commits have no state.
#[derive(Default)]
struct DeadLetter {
    last: Option<String>,
    staged: BTreeMap<String, Range<usize>>,
    late: Vec<(String, DeadLetterCommit)>,
    next_row: usize,
}

#[derive(Default)]
struct Store {
    unfinished: Vec<Unfinished>,
    committed: BTreeSet<String>,
    reset: Option<Option<String>>,
}

#[derive(Default)]
struct World {
    source: usize,
    target: Target,
    dead_letter: DeadLetter,
    stores: [Store; 2],
    runs: usize,
    /// Runs of which a store says that nothing of theirs is visible.
    ended_invisible: BTreeSet<String>,
}

/// Why a run did not end well.
enum Broken {
    Crash,
    Error(Error),
}

/// One run on its way: what it may still do before it crashes, and what it is answered.
struct Attempt<'a> {
    world: &'a mut World,
    machine: usize,
    fuel: usize,
    answers: std::vec::IntoIter<Answer>,
}

impl Target {
    fn last(&self) -> Option<LastCommit> {
        let last = self.commits.last().cloned();
        last.map(|(run, state)| LastCommit::read(run, state))
    }

    /// What `writer.commit` promises: once, after its base, of what is staged.
    fn commit(&mut self, ended: &BTreeSet<String>, run: &str, pending: &Pending) -> bool {
        if self.commits.iter().any(|(known, _)| known == run) {
            return true;
        }
        if self.last().map(|last| last.run) != pending.base {
            return false;
        }
        let Some(rows) = self.staged.remove(run) else {
            return false;
        };
        assert_eq!(rows.start, self.next_row, "rows are lost or arrive twice");
        let state = LastCommit::read(run.to_owned(), pending.state.clone()).state;
        assert_eq!(state, Some(rows.end.to_string()), "state of other rows");
        assert!(
            !ended.contains(run),
            "a run that ended without a trace is visible"
        );
        self.next_row = rows.end;
        self.commits.push((run.to_owned(), pending.state.clone()));
        true
    }
}

impl DeadLetter {
    fn commit(&mut self, run: &str, commit: &DeadLetterCommit) -> bool {
        if self.last.as_deref() == Some(run) {
            return true;
        }
        if self.last != commit.base {
            return false;
        }
        let Some(rows) = self.staged.remove(run) else {
            return false;
        };
        let in_order = rows.start == self.next_row;
        assert!(in_order, "rows of the dead letter are lost or arrive twice");
        self.next_row = rows.end;
        self.last = Some(run.to_owned());
        true
    }
}

impl Attempt<'_> {
    /// Before every effect: here the process may die.
    fn step(&mut self) -> Result<(), Broken> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Broken::Crash)?;
        Ok(())
    }

    fn answer(&mut self) -> Answer {
        self.answers.next().unwrap_or(Answer::Yes)
    }

    fn store(&mut self) -> &mut Store {
        &mut self.world.stores[self.machine]
    }

    fn ask(&mut self) -> TargetFact {
        match self.answer() {
            Answer::Yes | Answer::Late => TargetFact::Last(self.world.target.last()),
            _ => TargetFact::Unknown(Error::new(Kind::Unavailable, "no answer")),
        }
    }

    fn finish(&mut self, run: &str, visible: bool) -> Result<(), Broken> {
        self.step()?;
        self.store().unfinished.retain(|known| known.run != run);
        if visible {
            self.store().committed.insert(run.to_owned());
        } else {
            self.world.ended_invisible.insert(run.to_owned());
        }
        Ok(())
    }

    /// Whether what the run staged is known to be gone.
    fn discard(&mut self, run: &str) -> Result<bool, Broken> {
        self.step()?;
        let answer = self.answer();
        if !matches!(answer, Answer::No | Answer::Lost) {
            self.world.target.staged.remove(run);
        }
        let is_clean = matches!(answer, Answer::Yes | Answer::Late);
        Ok(self.discard_dead_letter(run)? && is_clean)
    }

    /// Before a discard, which may come to half of what a commit would publish.
    fn withdraw(&mut self, run: &str) -> Result<(), Broken> {
        self.step()?;
        for known in &mut self.store().unfinished {
            if known.run == run {
                known.pending = None;
            }
        }
        Ok(())
    }

    fn discard_dead_letter(&mut self, run: &str) -> Result<bool, Broken> {
        self.step()?;
        let answer = self.answer();
        if !matches!(answer, Answer::No | Answer::Lost) {
            self.world.dead_letter.staged.remove(run);
        }
        Ok(matches!(answer, Answer::Yes | Answer::Late))
    }

    /// Commits the dead letter of a run whose main commit landed.
    fn publish(&mut self, run: &str, commit: &DeadLetterCommit) -> Result<(), Broken> {
        self.step()?;
        let answer = self.answer();
        let dead_letter = &mut self.world.dead_letter;
        let landed = match answer {
            Answer::Yes => dead_letter.commit(run, commit),
            Answer::No | Answer::Lost => false,
            Answer::Unheard => {
                dead_letter.commit(run, commit);
                false
            }
            Answer::Late => {
                dead_letter.late.push((run.to_owned(), commit.clone()));
                false
            }
        };
        match landed {
            true => Ok(()),
            false => Err(Broken::Error(Error::new(Kind::CommitUnknown, "not yet"))),
        }
    }

    /// After the main commit: the dead letter, then the end of the run.
    fn committed(&mut self, run: &str, pending: &Pending) -> Result<(), Broken> {
        let committed = LastCommit::read(run.to_owned(), pending.state.clone());
        if let Some(dead_letter) = committed.dead_letter {
            self.publish(run, &dead_letter)?;
        }
        self.finish(run, true)
    }

    /// False where something staged could not be removed.
    fn settle_dead_letter(
        &mut self,
        last: Option<&LastCommit>,
        reset: bool,
    ) -> Result<bool, Broken> {
        let Some(last) = last else { return Ok(true) };
        let is_ended = self.store().committed.contains(&last.run);
        match dead_letter(Some(last), is_ended, reset) {
            DeadLetterDecision::Nothing => Ok(true),
            DeadLetterDecision::Publish(commit) => self.publish(&last.run, &commit).map(|()| true),
            DeadLetterDecision::Remove(_) => self.discard_dead_letter(&last.run),
        }
    }

    /// Commits, and ends the run where the outcome is known.
    fn commit(&mut self, run: &str, pending: &Pending) -> Result<(), Broken> {
        self.step()?;
        let (target, ended) = (&mut self.world.target, &self.world.ended_invisible);
        let failure = match self.answers.next().unwrap_or(Answer::Yes) {
            Answer::Yes if target.commit(ended, run, pending) => None,
            Answer::Yes | Answer::No => Some(Kind::Rejected),
            Answer::Lost => Some(Kind::Unavailable),
            Answer::Unheard => {
                target.commit(ended, run, pending);
                Some(Kind::GuestTrapped)
            }
            Answer::Late => {
                target.late.push((run.to_owned(), pending.clone()));
                Some(Kind::Unavailable)
            }
        };
        let Some(kind) = failure else {
            return self.committed(run, pending);
        };
        self.step()?;
        let fact = self.ask();
        match after_failure(run, Error::new(kind, "failed"), &fact) {
            AfterFailure::Committed => self.committed(run, pending),
            AfterFailure::Failed(error) => {
                self.withdraw(run)?;
                if self.discard(run)? {
                    self.finish(run, false)?;
                }
                Err(Broken::Error(error))
            }
            AfterFailure::Unknown(error) => Err(Broken::Error(error)),
        }
    }

    fn settle(&mut self, this: &str) -> Result<Start, Broken> {
        let fact = self.ask();
        let mut last = match &fact {
            TargetFact::Last(last) => last.clone(),
            TargetFact::Unknown(_) => None,
        };
        let reset = self.store().reset.clone();
        let is_reset = |last: Option<&LastCommit>| reset == Some(last.map(|l| l.run.clone()));
        let mut unfinished = self.store().unfinished.clone();
        unfinished.retain(|run| run.run != this);
        let decisions = decide(&unfinished, &fact, is_reset(last.as_ref()));
        let is_clean = self.settle_dead_letter(last.as_ref(), is_reset(last.as_ref()))?;
        for (run, decision) in decisions.map_err(Broken::Error)? {
            match decision {
                Decision::Committed if !is_clean => {}
                Decision::Committed => self.finish(&run, true)?,
                Decision::CommitAgain(pending) => {
                    self.commit(&run, &pending)?;
                    last = Some(LastCommit::read(run, pending.state));
                }
                Decision::Remove => {
                    self.withdraw(&run)?;
                    if self.discard(&run)? {
                        self.finish(&run, false)?;
                    }
                }
            }
        }
        Ok(start(last.as_ref(), is_reset(last.as_ref())))
    }

    fn run(&mut self, run: &str) -> Result<(), Broken> {
        self.step()?;
        self.store().unfinished.push(Unfinished {
            run: run.to_owned(),
            pending: None,
        });
        let start = match self.settle(run) {
            Err(Broken::Error(error)) => {
                self.finish(run, false)?;
                return Err(Broken::Error(error));
            }
            settled => settled?,
        };
        let from: usize = start.state.map_or(0, |state| state.parse().unwrap());
        let rows = from..self.world.source;
        if rows.is_empty() {
            return self.finish(run, false);
        }
        for staged in rows.clone() {
            self.step()?;
            let rows = from..staged + 1;
            self.world
                .target
                .staged
                .insert(run.to_owned(), rows.clone());
            self.world.dead_letter.staged.insert(run.to_owned(), rows);
        }
        let dead_letter = DeadLetterCommit {
            path: "rejected".to_owned(),
            prepared: vec![run.to_owned()],
            base: self.world.dead_letter.last.clone(),
            rows: rows.len() as u64,
        };
        let pending = Pending {
            prepared: vec![run.to_owned()],
            state: envelope::seal(Some(rows.end.to_string()), Some(dead_letter)),
            base: start.base,
        };
        self.step()?;
        for known in &mut self.store().unfinished {
            if known.run == run {
                known.pending = Some(pending.clone());
            }
        }
        self.commit(run, &pending)
    }
}

impl World {
    fn attempt(&mut self, machine: usize, fuel: usize, answers: Vec<Answer>) -> Result<(), Broken> {
        self.runs += 1;
        let run = format!("run {}", self.runs);
        let answers = answers.into_iter();
        let mut attempt = Attempt {
            world: self,
            machine,
            fuel,
            answers,
        };
        let outcome = attempt.run(&run);
        // What was on its way arrives now, whatever became of its sender.
        for (run, pending) in std::mem::take(&mut self.target.late) {
            self.target.commit(&self.ended_invisible, &run, &pending);
        }
        for (run, commit) in std::mem::take(&mut self.dead_letter.late) {
            self.dead_letter.commit(&run, &commit);
        }
        outcome
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Run {
                machine,
                new_rows,
                fuel,
                answers,
            } => {
                self.source += new_rows;
                // However it ends: the checks are in the target.
                let _ = self.attempt(machine, fuel, answers);
            }
            Step::Reset => {
                self.stores[0].reset = Some(self.target.last().map(|last| last.run));
                self.target.next_row = 0;
                self.dead_letter.next_row = 0;
            }
            Step::DeleteStore { machine } => self.stores[machine] = Store::default(),
            Step::DeleteTarget => {
                self.target = Target::default();
                self.dead_letter = DeadLetter::default();
            }
        }
    }

    /// After all trouble: runs without any bring everything, and leave nothing behind.
    fn check_end(mut self, machines: usize, stores_kept: bool) {
        self.source += 1;
        for machine in (0..machines).cycle().take(6) {
            let _ = self.attempt(machine, usize::MAX, Vec::new());
        }
        for machine in 0..machines {
            assert!(self.attempt(machine, usize::MAX, Vec::new()).is_ok());
        }
        assert_eq!(self.target.next_row, self.source, "rows are missing");
        assert_eq!(
            self.dead_letter.next_row, self.source,
            "bad rows are missing"
        );
        let state = self.target.last().and_then(|last| last.state);
        assert_eq!(state, Some(self.source.to_string()));
        assert!(self.stores.iter().all(|store| store.unfinished.is_empty()));
        if stores_kept {
            assert!(self.target.staged.is_empty(), "something staged is left");
            assert!(
                self.dead_letter.staged.is_empty(),
                "something staged is left"
            );
        }
    }
}

/// Runs on `machines`, of which most crash or get a bad answer.
fn run(machines: usize, bad_answers: &'static [Answer]) -> impl Strategy<Value = Step> {
    let answer = prop_oneof![3 => Just(Answer::Yes), 1 => prop::sample::select(bad_answers)];
    let fuel = prop_oneof![3 => 0..18usize, 1 => Just(usize::MAX)];
    let answers = prop::collection::vec(answer, 0..9);
    (0..machines, 0..3usize, fuel, answers).prop_map(|(machine, new_rows, fuel, answers)| {
        Step::Run {
            machine,
            new_rows,
            fuel,
            answers,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..Default::default() })]

    #[test]
    fn rows_arrive_once_whatever_crashes_on_one_machine_also_after_a_reset(
        steps in prop::collection::vec(
            prop_oneof![
                8 => run(1, &[Answer::No, Answer::Lost, Answer::Unheard]),
                1 => Just(Step::Reset),
            ],
            1..12,
        )
    ) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.act(step));
        world.check_end(1, true);
    }

    #[test]
    fn rows_arrive_once_whatever_crashes_or_is_deleted_on_two_machines_with_late_commits(
        steps in prop::collection::vec(
            prop_oneof![
                12 => run(2, &[Answer::No, Answer::Lost, Answer::Unheard, Answer::Late]),
                1 => (0..2usize).prop_map(|machine| Step::DeleteStore { machine }),
                1 => Just(Step::DeleteTarget),
            ],
            1..16,
        )
    ) {
        let mut world = World::default();
        steps.into_iter().for_each(|step| world.act(step));
        world.check_end(2, false);
    }
}
