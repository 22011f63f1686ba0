//! Who holds a lease: a process, told apart from every other one, and whether it certainly ended.
//!
//! Knows `/proc` and no database. What cannot be proved counts as alive: its lease expires by itself.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A process, so that another can tell whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Where `pid` has a meaning: one boot of one machine and one namespace of process ids, since
    /// containers share the first and not the second. Empty where it is not known.
    pub boot: String,
    pub pid: u32,
    /// In clock ticks since the boot: tells a process from a later one with the same id.
    pub started: u64,
}

impl Holder {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let (boot, started) = match (boot(), started(pid)) {
            (Some(boot), Status::Running { started }) => (boot, started),
            // Nobody can prove anything about it.
            _ => (String::new(), 0),
        };
        Self { boot, pid, started }
    }

    /// Whether the process certainly ended: it ran where this one runs, and is not there any more.
    pub fn is_dead(&self) -> bool {
        let same_place = !self.boot.is_empty() && boot().as_deref() == Some(self.boot.as_str());
        same_place
            && match started(self.pid) {
                Status::Running { started } => started != self.started,
                Status::Ended => true,
                Status::Unknown => false,
            }
    }
}

/// What is known of a process id.
enum Status {
    Running { started: u64 },
    Ended,
    Unknown,
}

fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let ids = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), ids.display()))
}

fn started(pid: u32) -> Status {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Status::Ended;
    };
    // Asked before `/proc`, which may hide the processes of other users.
    if test_kill_process(id) == Err(Errno::SRCH) {
        return Status::Ended;
    }
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// Fields 3 and 22 of `/proc/PID/stat`: the state, and when the process started.
fn parse_stat(stat: &str) -> Status {
    let parse = || {
        // The second field is the program's name in parentheses and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        Some((state, started))
    };
    match parse() {
        // Dead and not yet waited for: it runs no code.
        Some(("Z" | "X", _)) => Status::Ended,
        Some((_, started)) => Status::Running { started },
        None => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_provably_gone_is_dead() {
        let this = Holder::this();
        let elsewhere = |boot: &str| Holder {
            boot: boot.to_owned(),
            started: this.started + 1,
            ..this.clone()
        };
        let boot_id = this.boot.split_once(' ').unwrap().0;
        let rows = [
            ("this process", this.clone(), false),
            (
                "an earlier process with this one's id",
                elsewhere(&this.boot),
                true,
            ),
            (
                "an id that no process can have",
                Holder {
                    pid: u32::MAX,
                    ..this.clone()
                },
                true,
            ),
            ("a process of another machine", elsewhere("another"), false),
            (
                "a process of another container on this machine",
                elsewhere(&format!("{boot_id} pid:[1]")),
                false,
            ),
            ("a process of nobody knows where", elsewhere(""), false),
        ];
        for (who, holder, dead) in rows {
            assert_eq!(holder.is_dead(), dead, "{who}");
        }
    }

    #[test]
    fn reads_the_start_of_a_process_whose_name_is_hostile() {
        let check = |name: &str, state: &str| {
            let numbers: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
            match parse_stat(&format!("7 ({name}) {state} {}\n", numbers.join(" "))) {
                Status::Running { started } => Some(started),
                Status::Ended => None,
                Status::Unknown => panic!("not understood"),
            }
        };
        assert_eq!(check("sleep", "S"), Some(22));
        assert_eq!(check(") R 1 2 3 (", "S"), Some(22));
        assert_eq!(check("a b) Z 1", "R"), Some(22));
        assert_eq!(check("sleep", "Z"), None);
        assert!(matches!(parse_stat("7 (cut"), Status::Unknown));
        assert!(matches!(parse_stat(""), Status::Unknown));
    }
}
