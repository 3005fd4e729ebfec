use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{redact::Redactor, terminal::printable};

/// How much a line matters. The command line shows `info` and above, `debug` too with `-v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Detail for whoever looks into a problem.
    Debug,
    /// What a person following along wants to read.
    Info,
    /// Something unusual that did not stop the work.
    Warn,
    /// Something failed.
    Error,
}

/// One narrated event, redacted and ready to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// The component that speaks, e.g. `queen`.
    pub actor: String,
    /// What it did, in snake case, e.g. `job_create`.
    pub action: String,
    /// What it did it to, e.g. a job's or a model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The sentence for people.
    pub human: String,
    /// The line in its one format: `[{actor:<10}] {action:<15}: {human}`.
    pub formatted: String,
    /// How much it matters.
    pub level: Level,
    /// When it was emitted, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Line {
    pub(crate) fn new(
        actor: &str,
        action: &str,
        target: Option<&str>,
        human: &str,
        level: Level,
        redactor: &Redactor,
    ) -> Self {
        // Redaction comes first: escaping the newlines of a PEM block would hide it.
        let human = printable(&redactor.redact(human)).into_owned();
        let target = target.map(|target| printable(&redactor.redact(target)).into_owned());
        let formatted = format!("[{actor:<10}] {action:<15}: {human}");
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            actor: actor.to_owned(),
            action: action.to_owned(),
            target,
            human,
            formatted,
            level,
            at_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(actor: &str, action: &str, human: &str) -> String {
        Line::new(actor, action, None, human, Level::Info, &Redactor::new()).formatted
    }

    #[test]
    fn the_one_format_pads_actor_and_action() {
        assert_eq!(
            formatted("job-exec", "execute", "Executing job A"),
            "[job-exec  ] execute        : Executing job A"
        );
        assert_eq!(
            formatted("a-long-actor", "an_action_too_long", "x"),
            "[a-long-actor] an_action_too_long: x"
        );
    }

    #[test]
    fn a_line_stays_one_line_and_carries_no_control_character() {
        let line = formatted("hive", "load", "a\nb\x1b[2Jc");
        assert_eq!(line, "[hive      ] load           : a\\nb\\u{1b}[2Jc");
    }

    #[test]
    fn secrets_are_redacted_in_every_field() {
        let line = Line::new(
            "hive",
            "pull",
            Some("https://me:hunter2@example.org/x"),
            "token=abc123def",
            Level::Info,
            &Redactor::new(),
        );
        let json = serde_json::to_string(&line).expect("a line is plain data");
        assert!(!json.contains("hunter2") && !json.contains("abc123def"), "{json}");
        assert!(line.formatted.ends_with("token=[REDACTED]"), "{}", line.formatted);
    }
}
