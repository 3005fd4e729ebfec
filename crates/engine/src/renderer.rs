//! Chat templates are rendered in processes of their own.
//!
//! A template is a stranger's program, and a single instruction of it can take any amount of memory and
//! time. Its process has little of both, and nothing that matters ends with it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::template;

/// What a rendering may take of a processor. An ordinary one takes a thousandth of it.
const MOST_TIME: Duration = Duration::from_millis(200);

/// What a rendering may take of memory, besides what a process has anyway. It is a multiple of the longest
/// conversation that can be submitted.
const MOST_BYTES: u64 = 48 << 20;

/// Only a machine that hardly runs at all is slower than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process that starts one for each rendering. It ends when this is dropped.
#[derive(Debug)]
pub struct Renderer {
    control: UnixStream,
}

/// Why nothing was rendered.
#[derive(Debug)]
pub(crate) enum Unrendered {
    /// The rendering ended before it had an outcome. There is hardly another reason than its limits.
    Died,
    /// No process can be started for it.
    Unavailable(io::Error),
}

impl Renderer {
    /// Starts the process, which calls `confine` before anything else. It has what this process has, so call
    /// this early, while there is one thread and no file that matters.
    ///
    /// # Errors
    /// What the system says when it can start no process.
    pub fn start(confine: impl FnOnce()) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        if fork()? {
            drop(ours);
            in_child(|| {
                prepare()?;
                confine();
                serve(&theirs)
            });
        }
        Ok(Self { control: ours })
    }

    /// What [`template::answer`] answers to `request`, if it comes so far.
    pub(crate) fn render(&self, request: &[u8]) -> Result<Vec<u8>, Unrendered> {
        let (ours, theirs) = UnixStream::pair().map_err(Unrendered::Unavailable)?;
        send(&self.control, theirs).map_err(Unrendered::Unavailable)?;
        let mut answer = Vec::new();
        let mut exchange = |mut ours: UnixStream| {
            ours.set_read_timeout(Some(PATIENCE))?;
            ours.set_write_timeout(Some(PATIENCE))?;
            ours.write_all(request)?;
            ours.shutdown(Shutdown::Write)?;
            ours.take(MOST_BYTES).read_to_end(&mut answer)
        };
        match exchange(ours) {
            Ok(len) if len > 0 => Ok(answer),
            _ => Err(Unrendered::Died),
        }
    }
}

/// Splits this process in two. Says whether this is the new one.
fn fork() -> io::Result<bool> {
    // SAFETY: the new process has this thread only. What it calls takes no lock that another thread could
    // have held: there is no other, or none but a test runner's, which waits; and the allocator's locks are
    // the C library's to see to.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid == 0),
    }
}

/// Does `work`, and ends this process with it. Nothing that the process had from the one it was split from is
/// cleaned up, since it belongs to that one.
fn in_child(work: impl FnOnce() -> io::Result<()>) -> ! {
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    let code = if work().is_ok() { 0 } else { 1 };
    // SAFETY: ends the process; nothing is called any more.
    unsafe { libc::_exit(code) }
}

/// Leaves the process what it needs, and limits those that it will start.
fn prepare() -> io::Result<()> {
    // What a template says is nobody's to read, and the pipes are of whoever started our starter.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // SAFETY: no code of ours runs in a signal's context. Those that end leave nothing to wait for.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, most(0))?;
    // Elsewhere the time has to do: as much memory as can be filled in it.
    if cfg!(target_os = "linux") {
        setrlimit(Resource::Data, most(data_bytes()? + MOST_BYTES))?;
    }
    Ok(())
}

/// The memory that this process has of its own, as Linux counts it for the limit.
fn data_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = data.and_then(|data| data.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("the system does not tell"))
}

/// Starts a process for each connection that comes over `control`, until that is closed.
fn serve(control: &UnixStream) -> io::Result<()> {
    while let Some(connection) = receive(control)? {
        // Who waits at a connection that nobody serves sees it close.
        if fork().is_ok_and(|is_child| is_child) {
            in_child(|| {
                limit_time()?;
                let mut connection = UnixStream::from(connection);
                let mut request = Vec::new();
                connection.read_to_end(&mut request)?;
                connection.write_all(&template::answer(&request))
            });
        }
    }
    Ok(())
}

/// Has the system end this process when its time is over.
fn limit_time() -> io::Result<()> {
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let end = libc::timeval { tv_sec: 0, tv_usec: MOST_TIME.as_micros() as libc::suseconds_t };
    let timer = libc::itimerval { it_interval: zero, it_value: end };
    // SAFETY: a signal whose default is to end the process gets that default, and a timer that sends it is
    // set, from a value that outlives the call.
    let set = unsafe {
        libc::signal(libc::SIGPROF, libc::SIG_DFL);
        libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut())
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn send(control: &UnixStream, connection: UnixStream) -> io::Result<()> {
    let connection = [OwnedFd::from(connection)];
    let borrowed = connection.each_ref().map(std::os::fd::AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
    sendmsg(control, &[IoSlice::new(b"r")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// The next connection; `None` when there will be none.
fn receive(control: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty())?;
    let sent = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut connections) => connections.next(),
        _ => None,
    });
    Ok(sent)
}
