//! What is on the machine: programs, what builds them, processor, graphics cards, memory, the port, the clock.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use rbee_home::{Config, Home, program};
use rbee_protocol::{DeviceKind, ErrorCode, MachineFacts};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use super::Check;
use crate::human::{self, bytes};

const OURS: &str = env!("CARGO_PKG_VERSION");
/// A program that has not answered by then hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// With less free, the default model does not load beside what else a machine does.
const MEMORY_BYTES: u64 = 1 << 30;
/// The queen's, unless the settings name another.
const USUAL_PORT: u16 = 7833;
/// Clocks are set by a little all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(120);

/// Looks at programs, tools and devices, all at once.
pub(super) async fn look(config: Option<&Config>) -> Vec<Check> {
    let (programs, build, devices) = tokio::join!(programs(config), build(), devices());
    [programs, build, devices].into_iter().flatten().collect()
}

async fn programs(config: Option<&Config>) -> Vec<Check> {
    let custom = config.and_then(|config| config.worker_program.as_deref());
    let (queen, hive, worker) = tokio::join!(own_program("rbee-queen"), own_program("rbee-hive"), async {
        match custom {
            Some(path) => somebodys_program(path).await,
            None => own_program("rbee-worker").await,
        }
    });
    let checks: Vec<Check> = [queen, hive, worker].into_iter().flatten().collect();
    if checks.is_empty() {
        let worker = custom.map_or("rbee-worker".to_owned(), |path| path.display().to_string());
        return vec![Check::ok("programs", format!("rbee {OURS}, rbee-queen, rbee-hive and {worker}"))];
    }
    checks
}

/// What is wrong with one of our own programs.
async fn own_program(name: &str) -> Option<Check> {
    let path = match program(name) {
        Ok(path) => path,
        Err(error) => return Some(Check::failed("programs", &error)),
    };
    let shown = path.display();
    let broken = |how: String| {
        let hint = "build or install it again, from the same sources as `rbee`";
        Some(Check::problem("programs", ErrorCode::Unavailable, format!("{shown} does not run: {how}"), hint))
    };
    let output = match ask(&path, ["--version"]).await {
        Ok(output) if output.status.success() => output,
        Ok(output) => return broken(last_line(&output.stderr)),
        Err(how) => return broken(how),
    };
    let said = last_line(&output.stdout);
    let version = said.rsplit(' ').next().unwrap_or_default();
    (version != OURS).then(|| {
        let message = format!("{shown} is of version {version}, and this command line of {OURS}");
        Check::warning("programs", message, "build or install them together, then `rbee queen stop`")
    })
}

/// What is wrong with a worker program that the settings name. It need not know `--version`, but has to start.
async fn somebodys_program(path: &Path) -> Option<Check> {
    let how = match ask(path, ["--version"]).await {
        Ok(output) => format!("it was ended by signal {}", output.status.signal()?),
        Err(how) => how,
    };
    let message = format!("{}, which `hive.worker_program` names, does not run: {how}", path.display());
    let hint = "correct or remove that setting, or the variable RBEE_WORKER_PROGRAM";
    Some(Check::problem("programs", ErrorCode::Usage, message, hint))
}

/// The tools that build rbee, where it runs from a tree that it was built in. What is built needs none of them, so nothing
/// here is a problem.
async fn build() -> Vec<Check> {
    let Some(root) = build_tree() else { return Vec::new() };
    let (rustc, pip) = tokio::join!(ask("rustc", ["--version"]), ask("python3", ["-m", "pip", "--version"]));
    let mut checks = Vec::new();
    let mut lacks = |message: String, hint: &str| checks.push(Check::warning("build", message, hint));
    let needed = env!("CARGO_PKG_RUST_VERSION");
    match rustc.ok().filter(|output| output.status.success()).map(|output| last_line(&output.stdout)) {
        Some(said) => {
            let version = said.split(' ').nth(1).unwrap_or_default();
            if numbers(version) < numbers(needed) {
                lacks(format!("Rust is {version}, and building needs {needed}"), "`rustup update`");
            }
        }
        None => lacks(
            format!("there is no `rustc` that runs, and building needs Rust {needed}"),
            "get it from https://rustup.rs",
        ),
    }
    let compilers = [
        ("CC", ["cc", "gcc", "clang"]),
        ("CXX", ["c++", "g++", "clang++"]),
        ("CMAKE_GENERATOR", ["make", "gmake", "make"]),
    ];
    for (variable, names) in compilers {
        if env::var_os(variable).is_none() && !names.iter().any(|name| on_path(name)) {
            let hint = "on Debian or Ubuntu: `sudo apt install build-essential`";
            lacks(format!("there is no {}, and building the worker needs it", names[1]), hint);
        }
    }
    let has_pip = pip.is_ok_and(|output| output.status.success());
    let has_own_tools = root.join("target/tools").is_dir();
    let has_clang = env::var_os("LIBCLANG_PATH").is_some() || on_path("clang") || on_path("llvm-config");
    let has_tools = has_own_tools || on_path("cmake") && has_clang;
    if !has_tools && !has_pip {
        lacks(
            "there are neither CMake and libclang nor a Python with pip to fetch them".to_owned(),
            "on Debian or Ubuntu: `sudo apt install python3-pip python3-venv`",
        );
    }
    if checks.is_empty() {
        checks.push(Check::ok("build", format!("what builds rbee in {} is there", root.display())));
    }
    checks
}

/// The clone that this program was built in and runs from.
fn build_tree() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let root = program.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file())?;
    Some(root.to_owned())
}

fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The numbers of a version, which compare as it does.
fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

/// Processor, graphics cards and memory, as the hive's program sees them: it runs models, and need not run for this.
async fn devices() -> Vec<Check> {
    let Ok(hive) = program("rbee-hive") else { return Vec::new() };
    let told = ask(&hive, ["--machine"]).await.ok().filter(|output| output.status.success());
    let told = told.and_then(|output| serde_json::from_slice::<MachineFacts>(&output.stdout).ok());
    let Some(MachineFacts { memory_total_bytes, memory_available_bytes, instructions, devices }) = told
    else {
        let hint = "build or install `rbee` and `rbee-hive` together";
        return vec![Check::warning("processor", "`rbee-hive --machine` does not tell what is here", hint)];
    };
    let mut checks = Vec::new();
    let cpu = devices.iter().find(|device| device.kind == DeviceKind::Cpu);
    let name = cpu.map_or("the processor", |cpu| cpu.name.as_str());
    let threads =
        cpu.and_then(|cpu| cpu.threads).map(|threads| format!(", {}", human::count(threads, "thread")));
    let message = format!("{name}{}; used: {}", threads.unwrap_or_default(), instructions.used.join(" "));
    let facts = json!({"name": name, "used": instructions.used, "unused": instructions.unused});
    let check = if instructions.unused.is_empty() {
        Check::ok("processor", message)
    } else {
        let hint =
            "models run faster where rbee is built on this machine: `./rbee infer hello` in a clone of it";
        let message = format!("{message}; not used: {}", instructions.unused.join(" "));
        Check::warning("processor", message, hint)
    };
    checks.push(check.with(facts));

    let cards: Vec<_> = devices.iter().filter(|device| device.kind != DeviceKind::Cpu).collect();
    let facts = json!({"cards": cards});
    let told = cards.iter().map(|card| {
        format!("{}, {} free of {}", card.name, bytes(card.memory_free_bytes), bytes(card.memory_total_bytes))
    });
    let message = match told.collect::<Vec<_>>() {
        none if none.is_empty() => "no graphics card of NVIDIA's".to_owned(),
        some => some.join("; "),
    };
    checks.push(Check::ok("cards", message).with(facts));

    let message = format!("{} free of {}", bytes(memory_available_bytes), bytes(memory_total_bytes));
    let facts = json!({"free_bytes": memory_available_bytes, "total_bytes": memory_total_bytes});
    let check = if memory_available_bytes < MEMORY_BYTES {
        let hint = "`rbee worker list` shows what is loaded; end other programs, or use a smaller model";
        Check::warning("memory", format!("{message}, which is little for a model"), hint)
    } else {
        Check::ok("memory", message)
    };
    checks.push(check.with(facts));
    checks
}

/// Whether the queen can have its port, and who has it otherwise. `url` is where the queen of this home says it listens.
pub(super) fn port(config: Option<&Config>, url: Option<&str>) -> Check {
    let setting = config.and_then(|config| config.queen_listen);
    let wanted = setting.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT)));
    if let Some(url) = url {
        let facts = json!({"url": url});
        return Check::ok("port", format!("the queen listens on {url}")).with(facts);
    }
    match TcpListener::bind(wanted) {
        Ok(_) if wanted.port() == 0 => Check::ok("port", "the queen will take any that is free"),
        Ok(_) => Check::ok("port", format!("{wanted} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let owner = owner_of(wanted).unwrap_or_else(|| "another program".to_owned());
            let message = format!("{wanted} is used by {owner}");
            match setting {
                None => Check::warning(
                    "port",
                    format!("{message}; the queen takes any free one"),
                    "`rbee status` shows which it has; programs that know the usual port do not find it there",
                ),
                Some(_) => {
                    let hint =
                        "end that program, or name another port in `queen.listen`, or 127.0.0.1:0 for any";
                    Check::problem("port", ErrorCode::Unavailable, message, hint)
                }
            }
        }
        Err(error) => {
            let message = format!("nobody can listen on {wanted}: {error}");
            let hint = "name another address in `queen.listen`, or 127.0.0.1:0 for any free port";
            Check::problem("port", ErrorCode::Unavailable, message, hint)
        }
    }
}

/// The program that listens there, as far as the system tells us.
#[cfg(target_os = "linux")]
fn owner_of(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (uid, inode) = listener_in(&table, *address.ip(), address.port())?;
    let socket = format!("socket:[{inode}]");
    let has_socket = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| link.as_os_str() == OsStr::new(&socket))
    };
    let is_process = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    let entries = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let owner = entries.filter(is_process).find(|process| has_socket(process));
    Some(match owner {
        Some(process) => {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let pid = process.file_name().unwrap_or_default().display().to_string();
            format!("{} (pid {pid})", name.trim())
        }
        // Daemons of ours let nobody look into them either.
        None if uid == rustix::process::getuid().as_raw() => {
            "a program of yours, maybe the queen of another RBEE_HOME".to_owned()
        }
        None => format!("a program of user {uid}"),
    })
}

#[cfg(not(target_os = "linux"))]
fn owner_of(_: SocketAddr) -> Option<String> {
    None
}

/// User and inode of the socket that listens there, going by the kernel's table.
#[cfg(target_os = "linux")]
fn listener_in(table: &str, ip: Ipv4Addr, port: u16) -> Option<(u32, u64)> {
    const LISTEN: &str = "0A";
    let address = |ip: Ipv4Addr| format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()));
    let addresses = [address(ip), address(Ipv4Addr::UNSPECIFIED)];
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        let is_it = addresses.iter().any(|address| address == local) && *state == LISTEN;
        let socket = || Some((fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?));
        is_it.then(socket).flatten()
    })
}

/// Whether the clock may be right: keys, jobs and logs have times, and certificates of hubs are valid from some on.
pub(super) fn clock(home: &Home) -> Check {
    let logs = ["queen", "hive", "worker"].map(|name| home.log_file(name));
    let program = env::current_exe().ok();
    let written = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let known = program.iter().chain(&logs).filter_map(|path| Some((path, written(path)?)));
    check_clock(SystemTime::now(), known.max_by_key(|(_, at)| *at))
}

fn check_clock(now: SystemTime, latest: Option<(&PathBuf, SystemTime)>) -> Check {
    match latest {
        Some((path, at)) if at > now + CLOCK_SLACK => {
            let ahead = at.duration_since(now).unwrap_or_default().as_secs();
            let message = format!(
                "the clock is wrong, or was: {} was written {} from now",
                path.display(),
                human::duration(ahead.saturating_mul(1000))
            );
            Check::warning(
                "clock",
                message,
                "set the clock: `timedatectl` shows it, `sudo timedatectl set-ntp true`",
            )
        }
        _ => Check::ok("clock", "after all that was written here"),
    }
}

/// Runs a program that answers and ends.
async fn ask<const N: usize>(program: impl AsRef<OsStr>, args: [&str; N]) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    match timeout(ANSWER_TIMEOUT, command.output()).await {
        Ok(output) => output.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(numbers("1.95.0") >= numbers("1.95"));
        assert!(numbers("1.100.0-nightly") > numbers("1.95"));
        assert!(numbers("1.9.1") < numbers("1.95"));
        assert!(numbers("") < numbers("1.95"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_listens_is_found_in_the_kernels_table() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let owner = owner_of(address).expect("the kernel tells of it");
        assert!(owner.ends_with(&format!("(pid {})", std::process::id())), "{owner}");
        drop(listener);
        assert_eq!(owner_of(address), None);
    }

    #[test]
    fn a_port_that_is_taken_is_a_problem_only_where_it_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = listener.local_addr().expect("it is bound");
        let mut config = Config::default();
        assert!(port(Some(&config), Some("http://127.0.0.1:1")).state == State::Ok);
        config.queen_listen = Some(taken);
        let check = port(Some(&config), None);
        assert_eq!((check.state, check.error), (State::Problem, Some(ErrorCode::Unavailable)));
        assert!(check.message.contains(&taken.to_string()), "{}", check.message);
        drop(listener);
        assert_eq!(port(Some(&config), None).state, State::Ok);
    }

    #[test]
    fn a_clock_before_what_was_written_is_wrong() {
        let now = SystemTime::now();
        let path = PathBuf::from("/state/queen.log");
        for (ahead, expected) in [(0, State::Ok), (60, State::Ok), (3600, State::Warning)] {
            let check = check_clock(now, Some((&path, now + Duration::from_secs(ahead))));
            assert_eq!(check.state, expected, "{ahead}: {}", check.message);
        }
        assert!(
            check_clock(now, Some((&path, now + Duration::from_secs(7200)))).message.contains("2 h from now")
        );
    }
}
