//! The floor of a start: only what an agent that outlives its server can't do without.
//!
//! A launcher with one thread forks a child for each start. The child appends 4 KiB twice to a file of its own, each
//! followed by `fdatasync(2)`, as the two commits of a start are; forks and execs the agent; and says `initialize` and
//! hears its answer over pipes. Nothing is checked, limited, kept or logged.
//!
//! `frontdesk-bench-floor DIRECTORY AGENT [ARGUMENT..]` reads a number of starts and how many of them at once from each
//! line of stdin, and writes the microseconds that they took all in all. The agents live until all are ready.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    let command: Vec<CString> =
        arguments.map(|argument| CString::new(argument.into_encoded_bytes()).expect("no zero byte")).collect();
    let mut number = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let mut words = line.split(' ').map(|word| word.parse::<usize>().expect("a number"));
        let (starts, at_once) = (words.next().expect("starts"), words.next().expect("at once"));
        println!("{}", round(&directory, &command, starts, at_once, &mut number));
    }
}

fn round(directory: &Path, command: &[CString], starts: usize, at_once: usize, number: &mut u64) -> u128 {
    let (mut ready, tell) = pipe();
    let (hold, release) = pipe();
    let begun = Instant::now();
    let (mut started, mut done) = (0, 0);
    while done < starts {
        while started < starts && started - done < at_once {
            *number += 1;
            let file = directory.join(number.to_string());
            // SAFETY: this process has one thread.
            if unsafe { libc::fork() } == 0 {
                drop(ready);
                drop(release);
                shim(&file, command, tell, hold);
            }
            started += 1;
        }
        ready.read_exact(&mut [0]).expect("a start succeeds");
        done += 1;
    }
    let took = begun.elapsed().as_micros();
    drop(release);
    for _ in 0..starts {
        // SAFETY: a null status is allowed.
        unsafe { libc::wait(std::ptr::null_mut()) };
    }
    took
}

/// A child on its way; it does not return.
fn shim(file: &Path, command: &[CString], mut tell: File, mut hold: File) -> ! {
    let mut store = OpenOptions::new().create(true).append(true).open(file).expect("a file");
    for _ in 0..2 {
        store.write_all(&[7; 4_096]).expect("room on the disk");
        store.sync_data().expect("a disk that syncs");
    }
    let ((stdin, mut to_agent), (from_agent, stdout)) = (pipe(), pipe());
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } == 0 {
        let mut pointers: Vec<_> = command.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: the descriptors are open, and the strings end with a zero byte and outlive the call.
        unsafe {
            libc::dup2(stdin.as_raw_fd(), 0);
            libc::dup2(stdout.as_raw_fd(), 1);
            libc::execv(pointers[0], pointers.as_ptr());
            libc::_exit(127);
        }
    }
    drop((stdin, stdout));
    to_agent.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"META_DATA\":{\"EMAIL\":\"a@example.org\",\"PERSONA_TYPE\":\"TINY\",\"SESSION_ID\":\"0\",\"EPOCH\":1},\"SESSION_DATA\":{}}}\n").expect("an agent that reads");
    let mut line = String::new();
    BufReader::new(from_agent).read_line(&mut line).expect("an agent that answers");
    tell.write_all(&[1]).expect("a launcher that waits");
    drop(tell);
    let _ = hold.read(&mut [0]);
    drop(to_agent);
    // SAFETY: a null status is allowed, and the process ends without running what the launcher has left to do.
    unsafe {
        libc::wait(std::ptr::null_mut());
        libc::_exit(0)
    }
}

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0, "a pipe");
        (OwnedFd::from_raw_fd(ends[0]).into(), OwnedFd::from_raw_fd(ends[1]).into())
    }
}
