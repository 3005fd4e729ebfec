//! `rbee doctor --bundle`: one file for a report of a bug, which a person can read before sending it.
//!
//! Prompts, answers and keys are in none of what is put together here: the daemons keep them out of their logs and events.
//! What is put in is redacted besides, by the shapes of secrets and by the secrets of this machine themselves.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbee_home::{Glance, Home, HomeError, glance_at_queen, read_key, write_private};
use rbee_narration::{printable_text, redact};
use rbee_protocol::{Client, HiveReport, JobEvent, Operation, SubmitRequest, SystemEventKind};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Report;
use crate::commands::queen::tail;
use crate::commands::question::answer_to;
use crate::error::Failure;

/// So many lines of each log.
const LOG_LINES: usize = 400;
/// So many of the last events and jobs.
const EVENTS: usize = 500;
const JOBS: usize = 100;
/// A queen that has not told all by then is left.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What is shorter is no secret, or would be found in any text.
const SECRET_BYTES_MIN: usize = 8;

/// Puts everything into the file at `path`, which is new unless it may be overwritten, and returns its size in bytes.
pub(super) async fn write(path: &Path, overwrite: bool, report: &Report) -> Result<u64, Failure> {
    let home = Home::locate().ok();
    // First, so that what cannot be written is said at once.
    let file = if overwrite { None } else { Some(create(path)?) };
    let text = text(home.as_ref(), report).await;
    let size = text.len() as u64;
    match file {
        None => write_private(path, &text)?,
        Some(mut file) => {
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
                // Half a report helps nobody.
                let _ = fs::remove_file(path);
                HomeError::Io { action: "write", path: path.to_owned(), source }
            })?
        }
    }
    Ok(size)
}

fn create(path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            Failure::new(rbee_protocol::ErrorCode::Exists, message, "name another file, or add `--overwrite`")
        }
        _ => HomeError::Io { action: "create", path: path.to_owned(), source }.into(),
    })
}

async fn text(home: Option<&Home>, report: &Report) -> String {
    let mut text = "\
A report of `rbee doctor --bundle`, for whoever looks into a problem. It has no prompt, no answer and no key; names of models,
of keys' holders and of folders are in it. Read it before you give it to others.
"
    .to_owned();
    let mut section =
        |title: &str, body: &str| text.push_str(&format!("\n== {title} ==\n{}\n", body.trim_end()));
    let mut checks = serde_json::to_value(report).unwrap_or_default();
    strip_sources(&mut checks);
    section("doctor", &pretty(&checks));
    section("system", &system());
    if let Some(home) = home {
        let settings = match fs::read_to_string(home.config_file()) {
            Ok(text) => without_secrets(&text),
            Err(error) => error.to_string(),
        };
        section("config.toml", &settings);
        for (title, told) in live(home).await {
            section(title, &told);
        }
        for daemon in ["queen", "hive", "worker"] {
            section(&format!("{daemon}.log"), &end_of_log(&home.log_file(daemon)));
        }
    }
    let secrets = secrets(home);
    printable_text(&hide(&redact(&text), &secrets)).into_owned()
}

/// Takes out of messages the lines that show a settings file's own.
fn strip_sources(checks: &mut Value) {
    let checks = checks["checks"].as_array_mut().into_iter().flatten();
    for message in checks.map(|check| &mut check["message"]) {
        let is_source = |line: &str| {
            line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|')
        };
        let lines: Vec<_> =
            message.as_str().unwrap_or_default().lines().filter(|line| !is_source(line)).collect();
        *message = json!(lines.join("\n"));
    }
}

fn system() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut variables: Vec<_> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            ["RBEE_", "HF_", "OLLAMA_", "XDG_", "CUDA_"].iter().any(|start| name.starts_with(start))
        })
        .collect();
    variables.sort();
    format!(
        "rbee {} on {} {}, {name}, kernel {}\nvariables that are set, without their values: {}\n",
        env!("CARGO_PKG_VERSION"),
        env::consts::OS,
        env::consts::ARCH,
        kernel.trim(),
        variables.join(" ")
    )
}

/// What the queen tells of hive, jobs and events, if it does.
async fn live(home: &Home) -> Vec<(&'static str, String)> {
    let client = match glance_at_queen(home) {
        Ok(Glance::Running(address)) => {
            read_key(&home.operator_key_file()).ok().and_then(|key| Client::tcp(&address.url, &key).ok())
        }
        _ => None,
    };
    let Some(client) = client else { return Vec::new() };
    let hive =
        timeout(ANSWER_TIMEOUT, answer_to::<HiveReport>(&client, Operation::HiveStatus { hive: None })).await;
    let jobs = timeout(ANSWER_TIMEOUT, client.all_jobs()).await;
    let mut lines = Vec::new();
    // What came until then is told, however it ends.
    let whole = timeout(ANSWER_TIMEOUT, events(&client, &mut lines)).await;
    let first = lines.len().saturating_sub(EVENTS);
    let mut events = lines[first..].join("\n");
    if !matches!(whole, Ok(Some(()))) {
        events.push_str("\nthe queen did not tell all in time");
    }
    vec![
        ("hive", told(hive)),
        (
            "jobs, newest first",
            told(jobs.map(|jobs| {
                jobs.map(|mut list| {
                    list.jobs.truncate(JOBS);
                    list
                })
            })),
        ),
        ("events", events),
    ]
}

type Told<T> = Result<Result<T, rbee_protocol::ClientError>, tokio::time::error::Elapsed>;

fn told<T: serde::Serialize>(answer: Told<T>) -> String {
    match answer {
        Ok(Ok(answer)) => pretty(&answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the queen did not tell in time".to_owned(),
    }
}

/// The events up to the end of a job of ours, which comes after all that happened before.
async fn events(client: &Client, lines: &mut Vec<String>) -> Option<()> {
    let last = client.submit(&SubmitRequest::new(Operation::HiveList {})).await.ok()?.job_id;
    let mut follow = client.follow(&last, 0);
    while let Some(followed) = follow.next().await.ok()? {
        if let JobEvent::End(_) = followed.event {
            break;
        }
    }
    let mut events = client.follow_system(0);
    while let Some(followed) = events.next().await.ok()? {
        lines.push(followed.json);
        if let SystemEventKind::JobEnded { job, .. } = followed.event.kind
            && job.job_id == last
        {
            return Some(());
        }
    }
    None
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("what is reported is plain data")
}

fn end_of_log(path: &Path) -> String {
    let end = File::open(path).and_then(|mut file| tail(&mut file, LOG_LINES));
    end.map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The settings of a file that may be damaged, without what could be a secret: comments, values over several lines, and
/// those of names that speak of one. It goes by lines.
fn without_secrets(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let name = |text: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-. \"".contains(c);
            !text.is_empty() && text.chars().all(is_plain)
        };
        let shown =
            match (line.strip_prefix('[').and_then(|line| line.strip_suffix(']')), line.split_once('=')) {
                _ if line.is_empty() => continue,
                (Some(section), _) if name(section) => line.to_owned(),
                (None, Some((setting, value))) if name(setting) => {
                    let (setting, value) = (setting.trim(), value.trim());
                    let value = if is_harmless(value) && !is_secret(setting) { value } else { "(not shown)" };
                    format!("{setting} = {value}")
                }
                _ => "(not shown)".to_owned(),
            };
        lines.push(shown);
    }
    lines.join("\n")
}

/// Whether a value is a number, a truth, or a text in quotes that ends on its line, with nothing behind it.
fn is_harmless(value: &str) -> bool {
    let is_plain = value.parse::<f64>().is_ok() || ["true", "false"].contains(&value);
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    is_plain || inner.is_some_and(|inner| !inner.contains(['"', '\\']))
}

/// Whether a name speaks of a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["key", "token", "secret", "password", "passwd", "auth", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

/// The secrets of this machine that we know of, whatever they look like.
fn secrets(home: Option<&Home>) -> Vec<String> {
    let mut secrets: Vec<String> = env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_secret))
        .filter_map(|(_, value)| value.into_string().ok())
        .collect();
    if let Some(home) = home {
        secrets.extend(fs::read_to_string(home.operator_key_file()).ok());
    }
    secrets.extend(hub_token_file().and_then(|path| fs::read_to_string(path).ok()));
    // Paths, as of an agent's socket, are none.
    secrets.retain_mut(|secret| {
        *secret = secret.trim().to_owned();
        secret.len() >= SECRET_BYTES_MIN && !secret.starts_with('/')
    });
    // One may begin with another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// Where Hugging Face's programs, and hives, look for a token.
fn hub_token_file() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let hub = || variable("HF_HOME").or_else(|| Some(cache()?.join("huggingface")));
    variable("HF_TOKEN_PATH").or_else(|| Some(hub()?.join("token")))
}

fn hide(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[REDACTED]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_what_could_be_a_secret() {
        let text = "\
# my old key was canary-1
[worker]
threads = 2
keep_alive_s = -1
[hive]
worker_program = \"/opt/rbee-worker\"
hf_token = \"canary-2\"
api_key = 31415926 # canary-3
note = \"plain\" # canary-4
secret_number = 12345
long = \"\"\"
canary-5
end = canary-6 \"\"\"
[canary=7]
list = [\"canary-8\"]
escaped = \"a\\\"canary-9\"
";
        let shown = without_secrets(text);
        assert!(
            !shown.contains("canary") && !shown.contains("31415926") && !shown.contains("12345"),
            "{shown}"
        );
        for line in [
            "[worker]",
            "threads = 2",
            "keep_alive_s = -1",
            "worker_program = \"/opt/rbee-worker\"",
            "hf_token = (not shown)",
        ] {
            assert!(shown.lines().any(|other| other == line), "{line} in {shown}");
        }
    }

    #[test]
    fn messages_lose_the_lines_of_the_file_that_they_show() {
        let mut report = json!({"checks": [{"message": "parse error at line 3\n  |\n3 | a = \"canary\"\n  |     ^^^\nunknown field"}]});
        strip_sources(&mut report);
        assert_eq!(report["checks"][0]["message"], "parse error at line 3\nunknown field");
    }

    #[test]
    fn known_secrets_are_hidden_whatever_they_look_like() {
        let secrets = ["correct horse battery".to_owned(), "correct horse".to_owned()];
        assert_eq!(hide("x correct horse battery, correct horse", &secrets), "x [REDACTED], [REDACTED]");
    }
}
