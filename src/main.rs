//! The binary: hands its arguments to the library and gives back its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    frontdesk::cli::main()
}
