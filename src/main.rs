//! The binary: hands its arguments to the library and gives back its exit code.

use std::process::ExitCode;

/// What one thread allocates another one frees, all the time: a request is read by one and written to the disk by another.
/// The system's allocator then makes them wait for each other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    frontdesk::cli::main()
}
