use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Home, Ran, is_alive, pid};

/// Every file below a folder with what is in it, links with where they lead.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a file of the test's");
        if kind.is_dir() {
            files.extend(self::files(&path));
        } else if kind.is_symlink() {
            let to = fs::read_link(&path).expect("a link of the test's");
            files.insert(path, to.into_os_string().into_encoded_bytes());
        } else if kind.is_file() {
            files.insert(path.clone(), fs::read(path).expect("a file of the test's"));
        }
    }
    files
}

fn put(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder in the test's home");
    fs::write(path, text).expect("room for a small file");
}

fn is_gone(ran: Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

/// Fails too when a program begins to write a file that nobody has told `rbee uninstall` of.
#[test]
fn all_that_rbee_writes_is_removed_after_its_daemons_have_ended() {
    let mut home = Home::scripted();
    home.set("XDG_CONFIG_HOME", home.path("xdg"));
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    assert_eq!(home.run_with_stdin(b"hello\n", ["chat"]).code, Some(0));
    home.new_key("ada");
    assert_eq!(home.run(["model", "alias", "big", "SmolLM2-135M-Instruct.Q4_1"]).code, Some(0));
    assert_eq!(home.run(["queen", "install", "-q"]).code, Some(0));
    let (queen, worker) = (pid(&home.queen_address()["pid"]), home.worker_pid());

    let before = files(&home.path(""));
    let dry = home.run(["uninstall", "--dry-run", "--models"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    for word in
        ["operator.key", "journal.sqlite", "hive.sock", "rbee-queen.service", ".gguf", "stopped first"]
    {
        assert!(dry.stdout.contains(word), "{word} in {}", dry.stdout);
    }
    let listed = home.ask(&["uninstall", "--dry-run", "--models"]);
    let refused = home.run(["uninstall"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("rbee uninstall --yes"), "{refused:?}");
    assert!(is_alive(queen) && is_alive(worker));
    assert!(before.keys().all(|path| path.exists()), "a command that only asks removed something");

    let removed = is_gone(home.run(["uninstall", "--yes", "--models"]));
    assert!(!is_alive(queen) && !is_alive(worker));
    let listed = listed["removed"].as_array().expect("a list").len();
    assert!(
        removed.starts_with(&format!("removed {listed} files, ")),
        "{removed}, and before {}",
        dry.stdout
    );
    let left: Vec<_> =
        files(&home.path("")).into_keys().filter(|path| !path.starts_with(home.path("home"))).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    assert!(["config", "data", "state"].iter().all(|folder| !home.path(folder).exists()));
    let again = is_gone(home.run(["uninstall", "--yes"]));
    assert!(again.contains("nothing of rbee's"), "{again}");
}

#[test]
fn models_stay_unless_they_are_to_go_and_those_of_others_stay_always() {
    let home = Home::scripted();
    let mine = home.path("data/models/mine.gguf");
    put(mine.clone(), "my own model");
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    let model = home.path("data/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let text = is_gone(home.run(["uninstall", "--yes"]));
    assert!(text.contains("`--models` removes those") && model.exists() && mine.exists(), "{text}");

    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    is_gone(home.run(["uninstall", "--yes", "--models"]));
    assert!(!model.exists());
    assert_eq!(fs::read_to_string(mine).expect("it is there"), "my own model");
}

/// As if somebody had said `RBEE_HOME=$HOME`.
#[test]
fn a_home_that_holds_files_of_others_keeps_them_all() {
    let home = Home::scripted();
    let before = files(&home.path(""));
    for path in [
        ".bashrc",
        "notes.txt",
        "config/nvim/init.lua",
        "config/operator.key.bak",
        "config/keys.new-x",
        "config/other.new-7",
        "data/photos/cat.jpg",
        "data/models/cat.gguf",
        "data/models/blobs/readme",
        "data/models/blobs/abc",
        "data/models/manifests/package.json",
        "data/models/partial/film.parts",
        "data/models/divided/x/part",
        "state/queen.log.2",
        "state/run/worker-1.sock",
        "state/run/notes",
        "state/journal.sqlite.bak",
        "run/x",
    ] {
        put(home.path(path), &format!("mine: {path}"));
    }
    // A folder where a file would be, a socket of another name.
    put(home.path("config/aliases.json/inside"), "mine");
    fs::create_dir_all(home.path("state/run")).expect("a folder in the test's home");
    let _socket = UnixListener::bind(home.path("state/run/mine.sock")).expect("a socket of the test's");
    let theirs: BTreeMap<_, _> =
        files(&home.path("")).into_iter().filter(|(path, _)| !before.contains_key(path)).collect();
    put(home.path("config/operator.key"), &format!("rbee_{}\n", "0".repeat(64)));
    put(home.path("config/config.toml"), "");
    put(home.path("state/queen.lock"), "");
    put(home.path("state/queen.log"), "a line");
    put(home.path("data/models/blobs").join("0".repeat(64)), "a model");

    let mut command = home.command(["uninstall", "--yes", "--models", "--output", "json"]);
    let ran = Ran::from(command.env("HOME", home.path("")).output().expect("rbee starts"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let after = files(&home.path(""));
    for (path, text) in &theirs {
        assert_eq!(after.get(path), Some(text), "{}", path.display());
    }
    assert!(home.path("state/run/mine.sock").exists());
    let gone = ["config/operator.key", "config/config.toml", "state/queen.log"];
    assert!(gone.iter().all(|path| !home.path(path).exists()), "{}", ran.stdout);
    assert!(!home.path("data/models/blobs").join("0".repeat(64)).exists());
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let left = answer["left"].as_array().expect("a list");
    assert!(
        left.iter().any(|left| left["path"].as_str().is_some_and(|path| path.ends_with("photos"))),
        "{answer}"
    );
}

#[test]
fn questions_about_daemons_that_do_not_run_write_nothing() {
    let home = Home::empty();
    for (args, code) in
        [(["queen", "status"], 69), (["queen", "stop"], 0), (["queen", "logs"], 66), (["worker", "logs"], 66)]
    {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    }
    for folder in ["config", "data", "state"] {
        assert!(!home.path(folder).exists(), "{folder}");
    }
    fs::create_dir(home.path("state")).expect("room in the test's home");
    for command in ["status", "stop"] {
        home.run(["queen", command]);
    }
    assert_eq!(fs::read_dir(home.path("state")).expect("our own folder").count(), 0);
}

#[test]
fn models_that_were_left_can_be_removed_later() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let model = home.path("data/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let left = is_gone(home.run(["uninstall", "--yes"]));
    assert!(left.contains("`--models` removes those") && model.exists(), "{left}");
    let listed = is_gone(home.run(["uninstall", "--dry-run", "--models"]));
    assert!(listed.contains(".gguf"), "{listed}");
    is_gone(home.run(["uninstall", "--yes", "--models"]));
    assert!(!model.exists() && !home.path("data").exists());
}

#[test]
fn folders_in_which_rbee_never_ran_are_left_alone() {
    let home = Home::empty();
    for path in [
        "config/config.toml",
        "config/keys.json",
        "state/journal.sqlite",
        "state/queen.log",
        "state/queen.json",
    ] {
        put(home.path(path), "of another program");
    }
    put(home.path("config/operator.key"), "a key of another kind");
    put(home.path("data/models/blobs").join("0".repeat(64)), "another's");
    let before = files(&home.path(""));
    let text = is_gone(home.run(["uninstall", "--yes", "--models"]));
    assert!(text.contains("nothing of rbee's"), "{text}");
    assert_eq!(files(&home.path("")), before);
}

#[test]
fn no_link_is_followed() {
    let home = Home::empty();
    let outside = tempfile::tempdir().expect("a temporary folder");
    let out = |path: &str| outside.path().join(path);
    for path in ["blobs", "manifests", "partial"] {
        put(out(path).join("0".repeat(64)), "outside");
    }
    for path in [
        "queen.log",
        "config.toml",
        "model.gguf",
        "run/queen.lock",
        "staged/file",
        "journal.sqlite",
        "queen.lock",
    ] {
        put(out(path), "outside");
    }
    put(home.path("config/operator.key"), &format!("rbee_{}\n", "0".repeat(64)));
    put(home.path("state/queen.lock"), "");
    put(home.path("data/models/.staging-1/wheel"), "ours");
    fs::create_dir_all(home.path("data/models/divided/m")).expect("a folder in the test's home");
    for (link, to) in [
        ("config/config.toml", "config.toml"),
        ("state/queen.log", "queen.log"),
        ("state/run", "run"),
        ("data/models/blobs", "blobs"),
        ("data/models/manifests", "manifests"),
        ("data/models/partial", "partial"),
        ("data/models/SmolLM2-135M-Instruct.Q4_1.gguf", "model.gguf"),
        ("data/models/.staging-2", "staged"),
        ("data/models/.staging-1/link", "staged"),
        ("data/models/divided/m/part", "model.gguf"),
        ("data/models/divided/n", "staged"),
    ] {
        symlink(out(to), home.path(link)).expect("a link in the test's home");
    }
    let before = files(outside.path());
    is_gone(home.run(["uninstall", "--yes", "--models"]));
    assert_eq!(files(outside.path()), before);
    assert!(home.path("config/config.toml").is_symlink() && home.path("data/models/blobs").is_symlink());
    assert!(!home.path("config/operator.key").exists() && !home.path("data/models/.staging-1").exists());
    drop(home);

    // Whole folders that are links.
    let home = Home::empty();
    put(home.path("config/operator.key"), &format!("rbee_{}\n", "0".repeat(64)));
    for name in ["state", "data"] {
        symlink(outside.path(), home.path(name)).expect("a link in the test's home");
    }
    put(out("models/blobs").join("0".repeat(64)), "outside");
    put(out("run/hive.sock"), "outside");
    let before = files(outside.path());
    let text = is_gone(home.run(["uninstall", "--yes", "--models"]));
    let mut after = files(outside.path());
    // Whoever stops daemons takes this lock where theirs are.
    after.remove(&out("start.lock"));
    assert_eq!(after, before, "{text}");
    assert!(text.contains("a link, which rbee does not follow") && !home.path("config").exists(), "{text}");
}

#[test]
fn completions_and_the_service_go_with_the_home_that_has_no_other_name() {
    let home = Home::empty();
    let user = home.path("home");
    let command = |args: &[&str]| {
        let mut command = home.command(args);
        for variable in ["RBEE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env_remove(variable);
        }
        is_gone(Ran::from(
            command.env("HOME", &user).env("TMPDIR", home.path("")).output().expect("rbee runs"),
        ))
    };
    for (shell, path) in [
        ("bash", ".local/share/bash-completion/completions/rbee"),
        ("zsh", ".zfunc/_rbee"),
        ("fish", ".config/fish/completions/rbee.fish"),
    ] {
        put(user.join(path), &command(&["completions", shell]));
    }
    put(user.join(".zfunc/_other"), "#compdef other");
    command(&["queen", "install", "-q"]);
    assert!(user.join(".config/systemd/user/rbee-queen.service").exists());
    command(&["queen", "start"]);
    command(&["uninstall", "--yes"]);
    let left: Vec<_> = files(&user).into_keys().collect();
    assert_eq!(left, [user.join(".zfunc/_other")]);
    assert!(!user.join(".config/rbee").exists() && !user.join(".local/state/rbee").exists());

    // A file of such a name in which somebody has written themselves is theirs.
    let own = user.join(".config/fish/completions/rbee.fish");
    put(own.clone(), &format!("complete --command mine\n{}", command(&["completions", "fish"])));
    command(&["uninstall", "--yes"]);
    assert!(own.exists());
}

#[test]
fn the_service_of_another_home_and_a_unit_of_somebody_else_stay() {
    let mut home = Home::empty();
    home.set("XDG_CONFIG_HOME", home.path("xdg"));
    let unit = home.path("xdg/systemd/user/rbee-queen.service");
    let mut command = home.command(["queen", "install", "-q"]);
    let output = command.env("RBEE_HOME", home.path("other")).output().expect("rbee runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    is_gone(home.run(["uninstall", "--yes"]));
    assert!(unit.exists() && !home.path("config").exists());

    put(unit.clone(), "[Service]\nExecStart=/mine\n");
    let refused = home.run(["queen", "install"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("move it away"), "{refused:?}");
    is_gone(home.run(["uninstall", "--yes"]));
    assert_eq!(fs::read_to_string(unit).expect("it is there"), "[Service]\nExecStart=/mine\n");
}
