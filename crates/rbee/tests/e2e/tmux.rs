use std::path::PathBuf;
use std::process::Command;

use crate::support::Home;

/// A tmux server of its own with one window, in which a command runs.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    fn start(home: &Home, command: &Command, columns: u16, rows: u16) -> Self {
        let tmux = Self { socket: home.path("tmux.sock") };
        let mut start = tmux.command();
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => start.env(name, value),
                None => start.env_remove(name),
            };
        }
        // Programs that tmux starts get a TERM of its own.
        let size = [columns.to_string(), rows.to_string()];
        start.args(["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1]]);
        let started = start.arg(command.get_program()).args(command.get_args()).output();
        let started =
            started.expect("tmux is installed, or `cargo xtask test` leaves this test out and says so");
        assert!(started.status.success(), "{started:?}");
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).env_remove("TMUX");
        command
    }

    fn tell(&self, arguments: &[&str]) -> String {
        let ran = self.command().args(arguments).output().expect("tmux is there");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        String::from_utf8(ran.stdout).expect("UTF-8")
    }

    fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"]).trim_end().to_owned()
    }

    /// Waits until the screen is as it is wanted.
    fn until(&self, wanted: impl Fn(&str) -> bool) {
        for _ in 0..5000 {
            if wanted(&self.screen()) {
                return;
            }
        }
        panic!("the screen never is as it should be:\n{}", self.screen());
    }

    fn until_it_ends(&self) {
        for _ in 0..5000 {
            if !self.command().arg("has-session").output().expect("tmux is there").status.success() {
                return;
            }
        }
        panic!("it does not end:\n{}", self.screen());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Where all went well, there is no server any more.
        let _ = self.command().arg("kill-server").output();
    }
}

#[test]
fn a_chat_in_tmux_shows_what_it_shows_elsewhere() {
    if std::env::var_os("RBEE_TEST_WITHOUT_TMUX").is_some() {
        return;
    }
    let home = Home::scripted();
    let tmux = Tmux::start(&home, &home.command(["chat"]), 80, 20);
    tmux.until(|screen| screen.ends_with("Ctrl-D leaves\n>"));
    tmux.tell(&["send-keys", "so **bold**", "Enter"]);
    tmux.until(|screen| screen.ends_with("> so **bold**\nso bold\n>"));
    let styled = tmux.tell(&["capture-pane", "-p", "-e"]);
    assert!(styled.contains("so \u{1b}[1mbold"), "{styled:?}");

    tmux.tell(&["send-keys", "tokens 100000 5 so~", "Enter"]);
    tmux.until(|screen| screen.contains("so~so~so~"));
    tmux.tell(&["send-keys", "C-c"]);
    tmux.until(|screen| screen.contains("Cancelling…") && screen.ends_with("\n>"));

    let line = "0123456789".repeat(6);
    tmux.tell(&["send-keys", &line]);
    tmux.until(|screen| screen.ends_with(&line));
    tmux.tell(&["resize-window", "-x", "40"]);
    tmux.tell(&["send-keys", "!"]);
    tmux.until(|screen| screen.ends_with(&format!("> {}\n{}!", &line[..38], &line[38..])));
    tmux.tell(&["send-keys", "C-c"]);
    tmux.until(|screen| screen.ends_with("Ctrl-D or /quit leaves\n>"));
    tmux.tell(&["send-keys", "C-d"]);
    tmux.until_it_ends();
}
