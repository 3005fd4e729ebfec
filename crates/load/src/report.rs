//! What a run measured, and which conditions it did not meet.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// So many failures are kept in words; all are counted.
const FAILURES_KEPT: usize = 20;

/// The result of a run.
pub(crate) struct Report {
    pub(crate) name: &'static str,
    figures: Vec<(String, Value)>,
    /// A table of several servers side by side, where there is one: the names of its columns first.
    rows: Vec<Vec<String>>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new(), rows: Vec::new(), failures: Vec::new() }
    }

    /// Notes a figure, whose name ends with its unit.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.figures.push((name.into(), value.into()));
    }

    /// Notes a row of the table.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Notes that `condition`, in these words, is not met unless it is.
    pub(crate) fn require(&mut self, met: bool, condition: impl FnOnce() -> String) {
        if !met {
            self.failures.push(condition());
        }
    }

    /// Takes over what went wrong while it ran.
    pub(crate) fn failed(&mut self, failures: &Failures) {
        let (kept, count) = failures.taken();
        let more = count - kept.len();
        self.failures.extend(kept);
        self.require(more == 0, || format!("{more} more failures"));
    }

    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let width = self.figures.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in &self.figures {
            let _ = writeln!(text, "{name:<width$}  {}", plain(value));
        }
        for (index, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        let _ = writeln!(text, "{}: {}", self.name, if self.passed() { "passed" } else { "failed" });
        text
    }

    pub(crate) fn json(&self) -> Value {
        let figures: Map<String, Value> =
            self.figures.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut report = json!({
            "name": self.name,
            "passed": self.passed(),
            "figures": figures,
            "failures": self.failures,
        });
        if let Some((columns, rows)) = self.rows.split_first() {
            let objects = rows.iter().map(|row| {
                let cells = columns.iter().zip(row).map(|(column, cell)| (column.clone(), json!(cell)));
                Value::Object(cells.collect())
            });
            report["rows"] = objects.collect();
        }
        report
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
        value => value.to_string(),
    }
}

/// What has gone wrong so far, from whichever task. A cheap handle.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<(Vec<String>, usize)>>);

impl Failures {
    pub(crate) fn add(&self, failure: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1 += 1;
        if kept.0.len() < FAILURES_KEPT {
            kept.0.push(failure);
        }
    }

    /// Notes what went wrong with `what`, if anything did.
    pub(crate) fn check(&self, what: &str, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.add(format!("{what}: {error:#}"));
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn taken(&self) -> (Vec<String>, usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_misses_a_condition_says_which() {
        let mut report = Report::new("soak");
        report.figure("jobs", 3);
        report.require(true, || "never said".to_owned());
        assert!(report.passed());
        report.require(false, || "memory grew".to_owned());
        assert_eq!(report.table(), "jobs  3\nsoak: failed\n");
        assert_eq!(
            report.json(),
            json!({"name": "soak", "passed": false, "figures": {"jobs": 3}, "failures": ["memory grew"]})
        );
    }

    #[test]
    fn a_flood_of_failures_is_counted_but_not_kept() {
        let failures = Failures::default();
        for n in 0..100 {
            failures.add(n.to_string());
        }
        let mut report = Report::new("kill");
        report.failed(&failures);
        assert_eq!(report.failures.len(), FAILURES_KEPT + 1);
        assert_eq!(report.failures.last().map(String::as_str), Some("80 more failures"));
    }
}
