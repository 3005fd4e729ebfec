//! Ctrl-C and its relatives.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::terminal::Terminal;

/// A command that does not hear a signal for so long is stuck, e.g. writing to a pipe whose reader has stalled.
const HEARING: Duration = Duration::from_secs(2);
/// Who signals a program and then its group, as `timeout` does, leaves no time between the first and the second: for so
/// long the command may still say what has to be said, e.g. that its job is to end.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The signals that ask the program to leave: SIGINT, SIGTERM and SIGHUP.
///
/// As long as no command has asked for them, they end the program at once. Then the first one is the
/// command's to handle, and the second ends the program as soon as all has been said, unless the command has gone on in
/// between.
pub(crate) struct Signals {
    shared: Arc<Shared>,
    last: watch::Receiver<Received>,
    /// How many signals the command has gone on after.
    settled: u64,
}

#[derive(Default)]
struct Shared {
    is_handled: AtomicBool,
    heard: Notify,
    settled: Notify,
    /// Whether all has been said after the last signal.
    said: watch::Sender<bool>,
    /// The terminal that the command has changed.
    terminal: OnceLock<Arc<Terminal>>,
}

impl Shared {
    /// Ends the program when the command has said what it must, or fails to.
    async fn leave(&self, exit_code: u8) -> ! {
        let _ = timeout(LAST_WORD, self.said.subscribe().wait_for(|said| *said)).await;
        self.exit(exit_code)
    }

    /// Ends the program, which gets to do nothing more.
    fn exit(&self, exit_code: u8) -> ! {
        if let Some(terminal) = self.terminal.get() {
            terminal.give_back();
        }
        process::exit(exit_code.into())
    }
}

/// The last signal for the command.
#[derive(Clone, Copy, Default)]
struct Received {
    /// Counted from 1; 0 is none.
    number: u64,
    exit_code: u8,
}

impl Signals {
    /// Listens from now on, on a thread of its own: a second signal must end a program that is stuck, too.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn listen() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (tell, last) = watch::channel(Received::default());
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Listeners::new()?
        };
        let theirs = shared.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(relay(signals, &theirs, &tell)))?;
        Ok(Self { shared, last, settled: 0 })
    }

    /// From now on, the first signal is for [`Signals::first`].
    pub(crate) fn handle(&self) {
        self.shared.is_handled.store(true, Ordering::SeqCst);
    }

    /// A signal that ends the program gives this terminal back.
    pub(crate) fn give_back(&self, terminal: Arc<Terminal>) {
        // The first one knows best how it was before.
        let _ = self.shared.terminal.set(terminal);
    }

    /// Waits for the first signal, and gives the exit code it asks for. Cancel-safe.
    pub(crate) async fn first(&mut self) -> u8 {
        let settled = self.settled;
        let exit_code = match self.last.wait_for(|last| last.number > settled).await {
            Ok(last) => Some(last.exit_code),
            // The thread has ended, and no signal will come any more.
            Err(_) => None,
        };
        match exit_code {
            Some(exit_code) => {
                self.shared.heard.notify_one();
                exit_code
            }
            None => std::future::pending().await,
        }
    }

    /// The command has said what it must after the signal: a second one ends the program at once.
    pub(crate) fn said(&self) {
        self.shared.said.send_replace(true);
    }

    /// The command goes on after the signal that it has handled: the next one is a first one again.
    pub(crate) fn settle(&mut self) {
        let number = self.last.borrow().number;
        if number > self.settled {
            self.settled = number;
            self.shared.settled.notify_one();
        }
    }
}

async fn relay(mut signals: Listeners, shared: &Shared, tell: &watch::Sender<Received>) {
    for number in 1.. {
        let exit_code = signals.next().await;
        if !shared.is_handled.load(Ordering::SeqCst) {
            shared.exit(exit_code);
        }
        shared.said.send_replace(false);
        // Without a command to hear it, the time runs out.
        tell.send_replace(Received { number, exit_code });
        let heard_or_again = async {
            tokio::select! {
                again = signals.next() => Some(again),
                () = shared.heard.notified() => None,
            }
        };
        match timeout(HEARING, heard_or_again).await {
            Ok(None) => {}
            Ok(Some(again)) => shared.leave(again).await,
            Err(_) => shared.exit(exit_code),
        }
        tokio::select! {
            again = signals.next() => shared.leave(again).await,
            () = shared.settled.notified() => {}
        }
    }
}

/// One listener for each signal that is not ignored.
struct Listeners {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Listeners {
    fn new() -> io::Result<Self> {
        // What our starter has us ignore, as `nohup` and a shell's `&` do, stays ignored.
        let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
        let listen = |kind: SignalKind| {
            let bit = 1 << (kind.as_raw_value() - 1);
            if ignored & bit == 0 { signal(kind).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The exit code that the next signal asks for: 128 and its number.
    async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            () = next(&mut self.interrupt) => SignalKind::interrupt(),
            () = next(&mut self.terminate) => SignalKind::terminate(),
            () = next(&mut self.hang_up) => SignalKind::hangup(),
        };
        u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX)
    }
}

async fn next(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending().await
    }
}

/// The mask of ignored signals in the text of `/proc/self/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found() {
        assert_eq!(ignored("Name:\trbee\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored("Name:\trbee\n"), 0);
    }
}
