//! `rbee doctor`: looks for what keeps rbee from working, and says what to do about it.
//!
//! It starts nothing and changes nothing, and needs neither a daemon nor a home that is in order: it is for when those are
//! not.

mod bundle;
mod daemons;
mod files;
mod machine;

use anyhow::Result;
use owo_colors::{AnsiColors, OwoColorize};
use rbee_home::{Config, Home};
use rbee_narration::{printable, printable_text};
use rbee_protocol::ErrorCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Doctor, Output};
use crate::commands::question::now_ms;
use crate::error::Failure;
use crate::human::{bytes, count};
use crate::printer::Printer;
use crate::table::Look;

/// What was looked at, and what came of it. Its JSON is described in docs/doctor.md.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    checked_at_ms: u64,
    state: State,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    check: &'static str,
    state: State,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What kind of failure a problem is.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Value::is_null")]
    facts: Value,
}

/// How it is with a thing, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Problem,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn shade(self) -> AnsiColors {
        match self {
            Self::Ok => AnsiColors::Green,
            Self::Warning => AnsiColors::Yellow,
            Self::Problem => AnsiColors::Red,
        }
    }
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Ok, message: message.into(), hint: None, error: None, facts: Value::Null }
    }

    /// Something that works, but not as it could, or not for long.
    fn warning(check: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { state: State::Warning, hint: Some(hint.into()), ..Self::ok(check, message) }
    }

    /// Something that keeps rbee from doing what it is asked to.
    fn problem(
        check: &'static str,
        code: ErrorCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { state: State::Problem, error: Some(code), ..Self::warning(check, message, hint) }
    }

    /// The failure as a problem.
    fn failed(check: &'static str, error: &rbee_home::HomeError) -> Self {
        let hint = error.hint().unwrap_or_else(|| "`rbee queen logs` may say more".to_owned());
        Self::problem(check, error.code(), error.to_string(), hint)
    }

    /// The same with figures for programs.
    fn with(mut self, facts: Value) -> Self {
        self.facts = facts;
        self
    }
}

/// Looks, and says what there is to say; the exit code is that of the first problem. What is written to a file is not
/// said, and no failure.
pub(crate) async fn run(arguments: Doctor, printer: &mut Printer) -> Result<u8> {
    let report = look().await;
    if let Some(path) = arguments.bundle {
        let size = bundle::write(&path, arguments.overwrite, &report).await?;
        let shown = path.display().to_string();
        match printer.output() {
            Output::Text => printer.page(&format!("wrote {}, {}\n", printable(&shown), bytes(size)))?,
            _ => printer.json(&json!({"path": path, "size_bytes": size, "state": report.state}))?,
        }
        printer.note("It has no prompt, no answer and no key. Read it before you give it to others.")?;
        return Ok(0);
    }
    show(&report, printer)?;
    let problem = report.checks.iter().find_map(|check| check.error);
    Ok(problem.map_or(0, ErrorCode::exit_code))
}

async fn look() -> Report {
    let mut checks = Vec::new();
    let home = match Home::locate() {
        Ok(home) => Some(home),
        Err(error) => {
            checks.push(Check::failed("home", &error));
            None
        }
    };
    let mut config = None;
    if let Some(home) = &home {
        checks.extend(files::folders(home));
        checks.extend(files::files(home));
        match Config::load(home) {
            Ok(settings) => {
                checks.push(files::settings(home));
                config = Some(settings);
            }
            Err(error) => checks.push(Check::failed("config", &error)),
        }
        checks.extend(files::keys(home));
        checks.extend(files::disk(home));
    }
    checks.extend(machine::look(config.as_ref()).await);
    if let Some(home) = &home {
        let (found, url) = daemons::look(home).await;
        checks.push(machine::port(config.as_ref(), url.as_deref()));
        checks.push(machine::clock(home));
        checks.extend(found);
    }
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    Report { version: env!("CARGO_PKG_VERSION"), checked_at_ms: now_ms(), state, checks }
}

fn show(report: &Report, printer: &mut Printer) -> Result<(), Failure> {
    match printer.output() {
        Output::Text => printer.page(&page(report, printer.look())),
        Output::Json => printer.json(report),
        Output::Ndjson => report.checks.iter().try_for_each(|check| printer.json(check)),
    }
}

/// A line for each check; commands to type are never cut off.
fn page(report: &Report, look: Look) -> String {
    let width = report.checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    let indent = " ".repeat("problem".len() + 2 + width + 2);
    let mut text = String::new();
    for Check { check, state, message, hint, .. } in &report.checks {
        let name = format!("{:<7}", state.name());
        let name = if look.bold { name.color(state.shade()).to_string() } else { name };
        let message = printable_text(message.trim_end()).replace('\n', &format!("\n{indent}"));
        text.push_str(&format!("{name}  {check:<width$}  {message}\n"));
        if let Some(hint) = hint {
            text.push_str(&format!("{indent}hint: {}\n", printable(hint)));
        }
    }
    let number =
        |state| report.checks.iter().filter(|check| check.state == state).count().try_into().unwrap_or(0);
    let (problems, warnings) = (number(State::Problem), number(State::Warning));
    let sum = match (problems, warnings) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => format!("no problem, {}", count(warnings, "warning")),
        (problems, 0) => count(problems, "problem"),
        (problems, warnings) => format!("{}, {}", count(problems, "problem"), count(warnings, "warning")),
    };
    text + &format!("\n{sum}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: Vec<Check>) -> Report {
        let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
        Report { version: "1.2.3", checked_at_ms: 7, state, checks }
    }

    #[test]
    fn each_check_is_a_line_with_what_to_do_below_it() {
        let report = report(vec![
            Check::ok("home", "there"),
            Check::warning("disk", "little\x1b[2J room", "free some"),
            Check::problem("config", ErrorCode::Usage, "line 1\nerror: not this", "correct it"),
        ]);
        assert_eq!(
            page(&report, Look { width: Some(20), bold: false }),
            "ok       home    there\n\
             warning  disk    little\\u{1b}[2J room\n                 \
             hint: free some\n\
             problem  config  line 1\n                 error: not this\n                 \
             hint: correct it\n\
             \n1 problem, 1 warning\n"
        );
    }

    #[test]
    fn the_json_is_the_documented_one() {
        let report = report(vec![
            Check::ok("memory", "enough").with(serde_json::json!({"total_bytes": 1})),
            Check::problem("keys", ErrorCode::Denied, "open", "close"),
        ]);
        assert_eq!(
            serde_json::to_string(&report).expect("plain data"),
            r#"{"version":"1.2.3","checked_at_ms":7,"state":"problem","checks":[{"check":"memory","state":"ok","message":"enough","facts":{"total_bytes":1}},{"check":"keys","state":"problem","message":"open","hint":"close","error":"denied"}]}"#
        );
    }
}
