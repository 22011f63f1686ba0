//! `dativo-wasm`: parse, run, map the error to an exit code.

use std::process::ExitCode;

use clap::Parser;
use dativo_wasm::cli::{self, Cli};

fn main() -> ExitCode {
    dativo_wasm::memory::tune_allocator();
    ExitCode::from(cli::execute(Cli::parse()))
}
