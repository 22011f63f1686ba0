//! Turns a panic into a value, without a word on standard error.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `work` returns, or the message of its panic. Only for work whose state is dropped with the panic.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    silence_own_panics();
    let before = QUIET.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    outcome.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        text.unwrap_or("the decoder gave up").to_owned()
    })
}

/// The hook is global, so it is replaced once and asks for each panic whether this thread expects it.
fn silence_own_panics() {
    static REPLACED: Once = Once::new();
    REPLACED.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(catch(|| 7), Ok(7));
        let text = String::from("part");
        assert_eq!(catch(|| -> u8 { panic!("a {text}") }), Err("a part".into()));
    }
}
