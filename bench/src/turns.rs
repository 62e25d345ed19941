//! Floor and server in turns, so that what slows the machine slows both.

/// Measures A B A B; each is told the number of its turn. Returns what the floor and what the server did.
pub fn turns(
    repeats: usize,
    mut floor: impl FnMut(usize) -> f64,
    mut server: impl FnMut(usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    (0..repeats).map(|turn| (floor(turn), server(turn))).unzip()
}
