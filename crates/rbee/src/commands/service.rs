//! The queen as a service of its user: systemd's unit, or launchd's property list.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Result;
use rbee_home::{Glance, Home, HomeError, glance_at_queen, program};
use rbee_narration::printable;
use rbee_protocol::ErrorCode;
use serde_json::json;
use tokio::process::Command;

use crate::cli::Output;
use crate::error::Failure;
use crate::printer::Printer;

/// What a file of ours begins with, behind the sign for a comment.
const MARK: &str = "Written by `rbee queen install`";
const UNIT: &str = "rbee-queen.service";
const LABEL: &str = "rbee.queen";

/// Who starts services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Systemd,
    Launchd,
}

impl Manager {
    fn of_this_system() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    /// Where the file lies that tells the manager of our service.
    fn file(self) -> Option<PathBuf> {
        let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = folder("HOME");
        match self {
            Self::Systemd => {
                let config = folder("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
                Some(config.or_else(|| Some(home?.join(".config")))?.join("systemd/user").join(UNIT))
            }
            Self::Launchd => Some(home?.join(format!("Library/LaunchAgents/{LABEL}.plist"))),
        }
    }

    /// What the file says.
    fn text(self, service: &Service) -> String {
        match self {
            Self::Systemd => unit(service),
            Self::Launchd => property_list(service),
        }
    }

    /// The commands that enable and start the service.
    fn enable(self, path: &Path) -> Vec<Vec<String>> {
        let commands: &[&[&str]] = match self {
            Self::Systemd => &[
                &["systemctl", "--user", "daemon-reload"],
                &["systemctl", "--user", "enable", "--now", UNIT],
            ],
            Self::Launchd => &[&["launchctl", "load", "-w"]],
        };
        let mut commands: Vec<Vec<String>> =
            commands.iter().map(|command| command.iter().map(|&word| word.to_owned()).collect()).collect();
        if self == Self::Launchd {
            commands[0].push(path.display().to_string());
        }
        commands
    }
}

/// What a service is to be told.
struct Service {
    program: PathBuf,
    /// Variables that say where the home is.
    variables: Vec<(&'static str, PathBuf)>,
    /// Folders that the daemons write to.
    folders: Vec<PathBuf>,
}

impl Service {
    fn of(home: &Home) -> Result<Self, HomeError> {
        let folder = |name| {
            let value = env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
            Some((name, std::path::absolute(value).ok()?))
        };
        let variables = match folder("RBEE_HOME") {
            Some(root) => vec![root],
            None => ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]
                .into_iter()
                .filter_map(folder)
                .collect(),
        };
        let [(_, config), (_, data), (_, state), _] = home.folders();
        let mut folders = vec![config.to_owned(), data.to_owned(), state.to_owned()];
        folders.extend(home.temporary_folder().map(Path::to_owned));
        Ok(Self { program: program("rbee-queen")?, variables, folders })
    }
}

/// Writes the service's file, and enables it with `now`.
pub(super) async fn install(home: &Home, now: bool, dry_run: bool, printer: &mut Printer) -> Result<u8> {
    let manager = Manager::of_this_system();
    let path = manager.file().ok_or(HomeError::NoHome)?;
    let service = Service::of(home)?;
    for odd in service.folders.iter().chain([&service.program]) {
        if odd.to_str().is_none_or(|path| path.contains(char::is_control)) {
            let message = format!("the path {} cannot be told to a service", odd.display());
            return Err(Failure::new(ErrorCode::Usage, message, "use a folder with a plain name").into());
        }
    }
    let text = manager.text(&service);
    if dry_run {
        match printer.output() {
            Output::Text => printer.page(&text)?,
            _ => printer.json(&json!({"path": path, "text": text, "written": false}))?,
        }
        printer.note(&format!("This would be written to {}.", path.display()))?;
        return Ok(0);
    }
    let is_new = write(&path, &text)?;
    let commands: Vec<String> = manager.enable(&path).iter().map(|command| command.join(" ")).collect();
    match printer.output() {
        Output::Text => {
            let what = if is_new { "wrote" } else { "up to date:" };
            printer.page(&format!("{what} {}\n", printable(&path.display().to_string())))?;
        }
        _ => printer.json(&json!({"path": path, "written": is_new, "enable": commands}))?,
    }
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(name) = variables.into_iter().find(|name| name.starts_with("RBEE_") && name != "RBEE_HOME") {
        printer.note(&format!("The service does not get {name}: what it says belongs into config.toml."))?;
    }
    if now {
        enable(home, manager, &path).await?;
        printer.note("The service is enabled, and runs.")?;
    } else {
        printer.note(&format!("To enable it: {}", commands.join(" && ")))?;
    }
    if manager == Manager::Systemd {
        printer.note("To have it run also when you are not logged in: loginctl enable-linger")?;
    }
    Ok(0)
}

/// Writes the file unless it is as it should be, and says whether it was not.
fn write(path: &Path, text: &str) -> Result<bool, Failure> {
    let io = |action| move |source| HomeError::Io { action, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(before) if before == text => return Ok(false),
        Ok(before) if !before.contains(MARK) => {
            let message = format!("{} is there, and not written by rbee", path.display());
            return Err(Failure::new(ErrorCode::Exists, message, "move it away, then again"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("read")(error).into()),
    }
    let replace = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let staged = path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&staged, text)?;
        fs::rename(&staged, path).inspect_err(|_| {
            let _ = fs::remove_file(&staged);
        })
    };
    replace().map_err(io("write"))?;
    Ok(true)
}

async fn enable(home: &Home, manager: Manager, path: &Path) -> Result<(), Failure> {
    if let Ok(Glance::Running(address)) = glance_at_queen(home)
        && !is_active(manager).await
    {
        let message = format!("a queen runs already (pid {}), so the service's could not start", address.pid);
        return Err(Failure::new(ErrorCode::Unavailable, message, "`rbee queen stop`, then again"));
    }
    for command in manager.enable(path) {
        let failed = |reason: String| {
            let message = format!("`{}` failed: {reason}", command.join(" "));
            let hint = "the file is written; log in to a session of your own (not through su or sudo), and try that command";
            Failure::new(ErrorCode::Unavailable, message, hint)
        };
        let output = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
    }
    Ok(())
}

/// Whether the queen that runs is the service's.
async fn is_active(manager: Manager) -> bool {
    let (name, args): (_, &[&str]) = match manager {
        Manager::Systemd => ("systemctl", &["--user", "is-active", UNIT]),
        Manager::Launchd => ("launchctl", &["list", LABEL]),
    };
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The files with which the service of this home is installed: the unit, and the link that enables it.
pub(super) fn installed(home: &Home) -> Vec<PathBuf> {
    let manager = Manager::of_this_system();
    let Some(path) = manager.file() else { return Vec::new() };
    let [(_, config), ..] = home.folders();
    // Another home's stays.
    let is_ours = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file())
        && fs::read_to_string(&path)
            .is_ok_and(|text| text.contains(MARK) && text.contains(&said(manager, config)));
    if !is_ours {
        return Vec::new();
    }
    let link = path.with_file_name("default.target.wants").join(UNIT);
    let link = (fs::read_link(&link).ok().as_deref() == Some(path.as_path())).then_some(link);
    link.into_iter().chain([path]).collect()
}

/// How the file speaks of a path.
fn said(manager: Manager, path: &Path) -> String {
    match manager {
        Manager::Systemd => quoted(path),
        Manager::Launchd => escaped(path),
    }
}

/// Stops the service, and has the manager forget it; it may not know it, or not run.
pub(super) async fn disable() {
    let (name, args): (_, &[&str]) = match Manager::of_this_system() {
        Manager::Systemd => ("systemctl", &["--user", "disable", "--now", UNIT]),
        Manager::Launchd => ("launchctl", &["remove", LABEL]),
    };
    let mut command = Command::new(name);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status().await;
}

fn unit(service: &Service) -> String {
    let Service { program, variables, folders } = service;
    let variables: String = variables
        .iter()
        .map(|(name, value)| format!("Environment=\"{name}={}\"\n", inner(&value.display().to_string())))
        .collect();
    let folders: Vec<String> = folders.iter().map(|folder| quoted(folder)).collect();
    // In a command, a dollar sign begins a variable.
    let program = quoted(program).replace('$', "$$");
    let folders = folders.join(" ");
    format!(
        "\
# {MARK}, which writes it anew; `rbee uninstall` removes it.
# Changes of yours belong beside it: `systemctl --user edit {UNIT}`.
[Unit]
Description=rbee queen: one private LLM service from this machine

[Service]
Type=exec
ExecStart={program}
{variables}# A queen that is asked to stop ends its hive and workers itself. One that dies leaves them running, and the next one takes
# their jobs up again.
KillMode=process
TimeoutStopSec=60
# A worker that the system ends for its memory takes nobody with it.
OOMPolicy=continue
Restart=on-failure
RestartSec=5
# Settings, keys and folders that are wrong do not mend themselves.
RestartPreventExitStatus=2 65 77

# Hive and workers live in this service, too, so it allows what they need: models from anywhere that this user may read
# them, downloads, graphics cards. A worker closes itself in further.
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={folders}
# What CUDA has compiled for a card is kept there.
ReadWritePaths=-%h/.nv
# A temporary folder of its own would hide models that lie in the system's, which ProtectSystem makes read-only.
PrivateTmp=no
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"
    )
}

/// The path as systemd takes it, between quotes.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", inner(&path.display().to_string()))
}

/// A text between quotes of systemd's, in which a percent sign begins a specifier.
fn inner(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%")
}

fn property_list(service: &Service) -> String {
    let Service { program, variables, folders } = service;
    let variables: String = variables
        .iter()
        .map(|(name, value)| format!("\n    <key>{name}</key><string>{}</string>", escaped(value)))
        .collect();
    let folders: Vec<String> = folders.iter().map(|folder| escaped(folder)).collect();
    let (program, folders) = (escaped(program), folders.join(", "));
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!-- {MARK}, which writes it anew; `rbee uninstall` removes it. It writes to {folders}. -->
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
  <key>Label</key><string>{LABEL}</string>
  <key>ProgramArguments</key><array><string>{program}</string></array>
  <key>EnvironmentVariables</key><dict>{variables}
  </dict>
  <key>RunAtLoad</key><true/>
  <!-- Again when it fails, not when it was stopped. -->
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <!-- A hive outlives a queen that dies, and the next one takes its jobs up again. -->
  <key>AbandonProcessGroup</key><true/>
  <key>ExitTimeOut</key><integer>60</integer>
  <key>ThrottleInterval</key><integer>5</integer>
  <key>Umask</key><integer>63</integer>
</dict>
</plist>
"
    )
}

/// The path as XML has it, also within a comment.
fn escaped(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("--", "-&#45;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(root: &str) -> Service {
        let folder = |name: &str| PathBuf::from(format!("{root}/{name}"));
        Service {
            program: folder("rbee-queen"),
            variables: vec![("RBEE_HOME", PathBuf::from(root))],
            folders: ["config", "data", "state"].map(folder).to_vec(),
        }
    }

    #[test]
    fn odd_paths_are_quoted_in_a_unit() {
        let text = unit(&service(r#"/a b/100%/$x/"q"\"#));
        let inner = r#"/a b/100%%/$x/\"q\"\\"#;
        assert!(text.contains(&format!("ExecStart=\"{}/rbee-queen\"\n", inner.replace('$', "$$"))), "{text}");
        assert!(text.contains(&format!("Environment=\"RBEE_HOME={inner}\"\n")), "{text}");
        assert!(
            text.contains(&format!("ReadWritePaths=\"{inner}/config\" \"{inner}/data\" \"{inner}/state\"\n")),
            "{text}"
        );
    }

    /// What a queen's death must not take with it, and what hives and workers need.
    #[test]
    fn a_unit_leaves_hives_alone_and_lets_them_work() {
        let text = unit(&service("/home/ada/.rbee"));
        for line in [
            "KillMode=process",
            "OOMPolicy=continue",
            "Restart=on-failure",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
        for setting in ["PrivateDevices", "MemoryDenyWriteExecute", "PrivateNetwork", "PrivateTmp=yes"] {
            assert!(!text.contains(setting), "{setting} in {text}");
        }
    }

    #[test]
    fn a_property_list_is_whole_and_escapes_paths() {
        let text = property_list(&service("/Users/a & b/--<x>"));
        assert!(
            text.contains("<array><string>/Users/a &amp; b/-&#45;&lt;x&gt;/rbee-queen</string></array>"),
            "{text}"
        );
        assert!(text.contains("<key>RBEE_HOME</key><string>/Users/a &amp; b/"), "{text}");
        for tag in ["dict", "array", "plist", "string", "key", "integer"] {
            let opened =
                text.matches(&format!("<{tag}>")).count() + text.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "{tag} in {text}");
        }
        let comments = text.split("<!--").skip(1).map(|rest| rest.split_once("-->").expect("it ends").0);
        assert!(comments.into_iter().all(|comment| !comment.contains("--")), "{text}");
    }

    #[test]
    fn a_file_of_ours_is_written_anew_and_another_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("systemd/user/rbee-queen.service");
        let text = unit(&service("/a"));
        assert!(write(&path, &text).expect("room"));
        assert!(!write(&path, &text).expect("nothing to do"));
        assert!(write(&path, &unit(&service("/b"))).expect("room"));
        fs::write(&path, "[Service]\nExecStart=/mine\n").expect("room");
        assert_eq!(write(&path, &text).expect_err("it is somebody's").exit_code(), 2);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "[Service]\nExecStart=/mine\n");
    }
}
