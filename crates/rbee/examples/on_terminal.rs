//! For tests: becomes the program that its arguments name, with the terminal on stdin as its own.
//!
//! Only then does the terminal turn Ctrl-C into a signal for that program, and tell it of a new size.
#![forbid(unsafe_code)]

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{ioctl_tiocsctty, setsid};

fn main() -> io::Result<()> {
    setsid()?;
    ioctl_tiocsctty(io::stdin())?;
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    // Where that works, nothing comes back.
    Err(Command::new(program).args(arguments).exec())
}
