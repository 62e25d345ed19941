//! Threads that yield to all others, for work that keeps a processor busy for long: hashing, judging passwords and
//! decoding large bodies. So a rush of such work slows nothing else down.

/// Gives the calling thread a low priority. Of all threads, Linux applies this to the calling one alone: setpriority(2),
/// "C library/kernel differences".
pub(crate) fn lower() {
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(error = %error, "a thread keeps its priority");
    }
}

/// Does some work on a thread of low priority of its own, and waits for it.
///
/// # Panics
/// As the work does.
pub(crate) fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let lowered = scope.spawn(|| {
            lower();
            work()
        });
        lowered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
