//! The one source of randomness: the operating system's.

/// Returns `N` random bytes that nobody can predict.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
