//! `compile-component`, which nobody types: the process that compiles a component within limits.

use crate::component::compiler;
use crate::report;

/// 0 with machine code on standard output, 1 with what is wrong with the component on standard error.
pub fn compile() -> u8 {
    let (input, output) = report::pipes();
    match compiler::compile_as_child(input, output) {
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
