//! The queen as a service of systemd's.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::Home;

/// A home whose user has a configuration folder of their own.
fn home() -> Home {
    let mut home = Home::empty();
    home.set("XDG_CONFIG_HOME", home.path("xdg"));
    home
}

#[test]
fn the_queens_unit_is_printed_written_once_and_what_systemd_takes() {
    let home = home();
    let unit = home.path("xdg/systemd/user/rbee-queen.service");
    let dry = home.run(["queen", "install", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(!unit.exists() && !home.path("config").exists(), "a dry run writes nothing");
    assert!(dry.stdout.contains("\nKillMode=process\n"), "{}", dry.stdout);
    assert!(
        dry.stdout
            .contains(&format!("RBEE_HOME={}", home.path("").display().to_string().trim_end_matches('/'))),
        "{}",
        dry.stdout
    );

    let first = home.run(["queen", "install"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stderr.contains("systemctl --user enable --now rbee-queen.service"), "{}", first.stderr);
    assert_eq!(fs::read_to_string(&unit).expect("the unit"), dry.stdout);
    let written = fs::metadata(&unit).and_then(|metadata| metadata.modified()).expect("the unit");
    let second = home.run(["queen", "install"]);
    assert!(second.code == Some(0) && second.stdout.starts_with("up to date"), "{second:?}");
    assert_eq!(fs::metadata(&unit).and_then(|metadata| metadata.modified()).expect("the unit"), written);

    // Where there is no systemd, there is nobody to ask.
    if let Some(said) = complaints(&home, &unit) {
        assert_eq!(said, "");
        let spoiled = home.path("rbee-queen.service");
        fs::write(&spoiled, dry.stdout.replace("KillMode", "KilMode")).expect("room");
        assert!(complaints(&home, &spoiled).expect("it was there before").contains("KilMode"));
    }
}

/// What systemd has to say against the unit.
fn complaints(home: &Home, unit: &Path) -> Option<String> {
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["--user", "verify"])
        .arg(unit)
        .env("XDG_RUNTIME_DIR", home.path(""))
        .env("HOME", home.path("home"));
    let output = verify.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(said.lines().filter(|line| line.contains("rbee-queen")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_service_is_enabled_where_no_other_queen_runs() {
    let mut home = home();
    let (tools, said) = (home.path("tools"), home.path("said"));
    fs::create_dir(&tools).expect("a folder in the test's home");
    let systemctl = tools.join("systemctl");
    // Nothing is active, and the rest works.
    let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\n[ \"$2\" != is-active ]\n", said.display());
    fs::write(&systemctl, script).expect("room");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o700)).expect("our own file");
    home.set("PATH", format!("{}:/usr/bin:/bin", tools.display()));

    let ran = home.run(["queen", "install", "--now"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = fs::read_to_string(&said).expect("it was called");
    assert_eq!(told, "--user daemon-reload\n--user enable --now rbee-queen.service\n");

    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let refused = home.run(["queen", "install", "--now"]);
    assert!(
        refused.code == Some(69) && refused.stderr.contains("`rbee queen stop`, then again"),
        "{refused:?}"
    );

    fs::write(&systemctl, "#!/bin/sh\necho 'no bus' >&2\nexit 1\n").expect("room");
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    let failed = home.run(["queen", "install", "--now"]);
    assert!(failed.code == Some(69) && failed.stderr.contains("no bus"), "{failed:?}");
}
