//! What programs print when they are ready.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

/// The address at the end of the first line that a server prints, whose standard output is a pipe.
pub fn printed_address(server: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    assert!(address.starts_with("http://"), "{line}");
    address
}
