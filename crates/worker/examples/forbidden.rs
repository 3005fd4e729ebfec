//! Tries one operation, as a worker that is confined or as any program: for the test that proves what
//! a worker cannot do.
//!
//! `forbidden list` names the operations. `forbidden confined|free OPERATION FOLDER PORT` tries one, where
//! `FOLDER` has what the test has laid out. It ends with 0 when the operation could be done; when not, with 1
//! and the system's error number on stdout.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
#[path = "../src/confine.rs"]
mod confine;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
    use std::io::{self, IoSliceMut, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::time::SystemTime;

    use nix::mount::MsFlags;
    use nix::mqueue::{MQ_OFlag, mq_open, mq_unlink};
    use nix::sched::CloneFlags;
    use nix::sys::stat::Mode;
    use nix::sys::uio::{RemoteIoVec, process_vm_readv};
    use nix::unistd::Pid;
    use rustix::process::{
        DumpableBehavior, PidfdFlags, Resource, Signal, getpriority_process, getrlimit, kill_process,
        pidfd_open, prlimit, set_dumpable_behavior, setpriority_process,
    };

    use super::confine::confine;

    /// What the operations work on.
    struct World {
        folder: PathBuf,
        model: PathBuf,
        port: u16,
        /// Another process, and where its stack is.
        victim: Child,
        stack: usize,
    }

    impl World {
        fn victim(&self) -> Pid {
            Pid::from_raw(self.victim.id().cast_signed())
        }

        fn rustix_victim(&self) -> rustix::process::Pid {
            rustix::process::Pid::from_raw(self.victim().as_raw()).expect("a process has a number above 0")
        }

        fn of_victim(&self, name: &str) -> PathBuf {
            PathBuf::from(format!("/proc/{}/{name}", self.victim.id()))
        }
    }

    type Operation = fn(&World) -> io::Result<()>;

    /// What a worker needs, and so must be able to do.
    const ALLOWED: [(&str, Operation); 9] = [
        ("allowed: read the model", |world| fs::read(&world.model).map(drop)),
        ("allowed: read about itself", |_| fs::read("/proc/self/status").map(drop)),
        ("allowed: read about the processors", |_| fs::read("/sys/devices/system/cpu/online").map(drop)),
        ("allowed: start a thread", |_| {
            std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("it panicked"))
        }),
        ("allowed: accept a connection", |world| {
            let socket = UnixListener::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
            socket.accept()?.0.write_all(world.port.to_string().as_bytes())
        }),
        ("allowed: have a pair of sockets", |_| UnixStream::pair().map(drop)),
        ("allowed: signal itself", |_| Ok(kill_process(rustix::process::getpid(), Signal::CONT)?)),
        ("allowed: place its threads", |_| {
            let itself = Pid::from_raw(0);
            Ok(nix::sched::sched_setaffinity(itself, &nix::sched::sched_getaffinity(itself)?)?)
        }),
        ("allowed: put itself last", |_| Ok(setpriority_process(None, getpriority_process(None)?)?)),
    ];

    /// What only Landlock denies.
    const FILES: [(&str, Operation); 7] = [
        ("files: read another file", |world| fs::read(world.folder.join("other")).map(drop)),
        ("files: read another file through /proc", |world| {
            let folder = world.folder.strip_prefix("/").map_err(io::Error::other)?;
            fs::read(PathBuf::from("/proc/self/root").join(folder).join("other")).map(drop)
        }),
        ("files: list a folder", |world| fs::read_dir(&world.folder).map(drop)),
        ("files: write to a file", |world| {
            OpenOptions::new().append(true).open(world.folder.join("other")).map(drop)
        }),
        ("files: write to the model", |world| OpenOptions::new().append(true).open(&world.model).map(drop)),
        ("files: read another process's environment", |world| fs::read(world.of_victim("environ")).map(drop)),
        ("files: open another process's memory", |world| File::open(world.of_victim("mem")).map(drop)),
    ];

    /// What is denied on every kernel with seccomp.
    const CALLS: [(&str, Operation); 35] = [
        ("create a file", |world| File::create_new(world.folder.join("new")).map(drop)),
        ("remove the model", |world| fs::remove_file(&world.model)),
        ("rename the model", |world| fs::rename(&world.model, world.folder.join("renamed"))),
        ("link to the model", |world| fs::hard_link(&world.model, world.folder.join("link"))),
        ("link to another place", |world| symlink("/", world.folder.join("symlink"))),
        ("make a folder", |world| fs::create_dir(world.folder.join("made"))),
        ("make a pipe", |world| Ok(nix::unistd::mkfifo(&world.folder.join("pipe"), Mode::S_IRWXU)?)),
        ("cut the model off", |world| Ok(nix::unistd::truncate(&world.model, 0)?)),
        ("open the model to others", |world| {
            fs::set_permissions(&world.model, Permissions::from_mode(0o666))
        }),
        ("change the model's times", |world| {
            File::open(&world.model)?.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
        }),
        ("connect by TCP", |world| TcpStream::connect(("127.0.0.1", world.port)).map(drop)),
        ("listen by TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
        ("send by UDP", |world| {
            UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", ("127.0.0.1", world.port)).map(drop)
        }),
        ("connect to another program's socket", |world| {
            UnixStream::connect(world.folder.join("socket")).map(drop)
        }),
        ("connect to an abstract socket", |world| {
            let name = world.folder.as_os_str().as_encoded_bytes();
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
        }),
        ("listen on another socket", |world| UnixListener::bind(world.folder.join("own")).map(drop)),
        ("have sockets that can send anywhere", |_| UnixDatagram::pair().map(drop)),
        ("have a raw pair", |_| {
            let (unix, raw) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::RAW);
            Ok(rustix::net::socketpair(unix, raw, rustix::net::SocketFlags::empty(), None).map(drop)?)
        }),
        ("have a message queue", |world| {
            let name = format!("/rbee-{}", world.victim.id());
            let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR;
            mq_open(name.as_str(), flags, Mode::S_IRWXU, None).map(drop)?;
            Ok(mq_unlink(name.as_str())?)
        }),
        ("start a program", |_| Command::new("/bin/true").status().map(drop)),
        ("become a program", |_| Err(Command::new("/bin/true").exec())),
        ("trace another process", |world| Ok(nix::sys::ptrace::attach(world.victim())?)),
        ("read another process's memory", |world| {
            let mut bytes = [0; 8];
            let there = [RemoteIoVec { base: world.stack, len: bytes.len() }];
            process_vm_readv(world.victim(), &mut [IoSliceMut::new(&mut bytes)], &there)?;
            Ok(())
        }),
        ("signal another process", |world| Ok(kill_process(world.rustix_victim(), Signal::CONT)?)),
        ("hold another process", |world| {
            Ok(pidfd_open(world.rustix_victim(), PidfdFlags::empty()).map(drop)?)
        }),
        ("limit another process", |world| {
            let limit = getrlimit(Resource::Nofile);
            Ok(prlimit(Some(world.rustix_victim()), Resource::Nofile, limit).map(drop)?)
        }),
        ("put another process last", |world| {
            let victim = Some(world.rustix_victim());
            Ok(setpriority_process(victim, getpriority_process(victim)?)?)
        }),
        ("leave its process group", |_| {
            // In a group of its own it would be no change.
            Ok(nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?)
        }),
        ("have its own view of the system", |_| Ok(nix::sched::unshare(CloneFlags::CLONE_FS)?)),
        ("change its user", |_| Ok(nix::unistd::setuid(nix::unistd::getuid())?)),
        ("change how it is run", |_| {
            nix::sys::personality::set(nix::sys::personality::get()?)?;
            Ok(())
        }),
        ("let others look into it", |_| Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)),
        ("root: change its root folder", |world| Ok(nix::unistd::chroot(&world.folder)?)),
        ("root: mount a folder", |world| {
            let none = None::<&str>;
            nix::mount::mount(Some(&world.folder), &world.folder, none, MsFlags::MS_BIND, none)?;
            Ok(nix::mount::umount(&world.folder)?)
        }),
        ("root: name the machine", |_| Ok(nix::unistd::sethostname(nix::unistd::gethostname()?)?)),
    ];

    pub(super) fn main() -> ExitCode {
        let args: Vec<String> = std::env::args().skip(1).collect();
        match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["list"] => {
                let names: Vec<&str> = operations().map(|(name, _)| name).collect();
                say(&names.join("\n"));
                ExitCode::SUCCESS
            }
            ["victim"] => {
                say("ready");
                // Until whoever started it has gone.
                let _ = io::stdin().read_to_end(&mut Vec::new());
                ExitCode::SUCCESS
            }
            [how, name, folder, port] => {
                let (_, operation) =
                    operations().find(|(known, _)| known == name).expect("the test takes them from the list");
                let mut world = World::new(folder.into(), port.parse().expect("the test gives a port"));
                let tried = run(*how == "confined", operation, &world);
                let code = match tried {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        say(&error.raw_os_error().unwrap_or_default().to_string());
                        ExitCode::FAILURE
                    }
                };
                // It ends with its stdin where it cannot be ended so, unless it was stopped for being traced.
                let _ = world.victim.kill();
                code
            }
            _ => ExitCode::from(2),
        }
    }

    fn operations() -> impl Iterator<Item = (&'static str, Operation)> {
        ALLOWED.into_iter().chain(FILES).chain(CALLS)
    }

    fn run(confined: bool, operation: Operation, world: &World) -> io::Result<()> {
        if confined {
            let confinement = confine(std::slice::from_ref(&world.model), false);
            if confinement.calls.is_err() {
                return Err(io::Error::other(confinement.to_string()));
            }
        }
        operation(world)
    }

    impl World {
        fn new(folder: PathBuf, port: u16) -> Self {
            let mut victim = Command::new(std::env::current_exe().expect("this program has a path"))
                .arg("victim")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("this program starts");
            // Its memory is laid out only some time after `spawn` has returned.
            let mut stdout = victim.stdout.take().expect("it was piped");
            stdout.read_exact(&mut [0]).expect("the victim says that it runs");
            let maps = fs::read_to_string(format!("/proc/{}/maps", victim.id())).expect("the victim runs");
            let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("it has a stack");
            let end = stack.split(['-', ' ']).nth(1).expect("a range of addresses");
            let stack = usize::from_str_radix(end, 16).expect("an address") - 64;
            Self { model: folder.join("model"), folder, port, victim, stack }
        }
    }

    fn say(text: &str) {
        let _ = io::stdout().write_all(format!("{text}\n").as_bytes());
    }
}
