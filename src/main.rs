//! The binary: hands its arguments to the library and gives back its exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// What one thread allocates another one frees, all the time: a request is read by one and written to the disk by another.
/// The system's allocator then makes them wait for each other. All memory is overwritten with zeros when it is freed, so that
/// no password of a request outlives it, whichever library has copied it on the way.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

fn main() -> ExitCode {
    frontdesk::cli::main()
}
