//! Reads a pickle from standard input and writes it as JSON to standard output.

use std::io::{self, Read, Write};

use frontdesk_pickle::{Limits, to_json};

fn main() -> io::Result<()> {
    let mut pickle = Vec::new();
    io::stdin().lock().read_to_end(&mut pickle)?;
    let json = to_json(&pickle, &Limits::default()).map_err(io::Error::other)?;
    io::stdout().lock().write_all(&json)
}
