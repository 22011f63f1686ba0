//! `compile-component`, which nobody types: the process that compiles a component within limits.

use crate::component::compiler::{self, CompilerLimits};
use crate::report;

/// 0 with machine code on standard output, 1 with what is wrong with the component on standard error.
pub fn compile(memory_mib: u64, cpu_seconds: u64) -> u8 {
    let limits = CompilerLimits {
        memory_mib,
        cpu_seconds,
    };
    let (input, output) = report::pipes();
    match compiler::compile_as_child(limits, input, output) {
        Ok(()) => 0,
        Err(error) => {
            let words = error
                .causes()
                .first()
                .map_or(error.message(), String::as_str);
            report::note(words);
            1
        }
    }
}
