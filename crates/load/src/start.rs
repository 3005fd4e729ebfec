//! How long it takes from typing a command to its end, beside programs that do nothing and one that is like it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::daemons::Daemons;
use crate::printer::say;
use crate::report::Report;
use crate::stats::Samples;

/// What does nothing, and a command line that many know.
const TRUE: &str = "true";
const DOCKER: &str = "docker --version";

/// One command that is measured.
struct Measured {
    name: &'static str,
    command: Command,
    /// The most that its median may be, in ms.
    most_ms: Option<f64>,
    samples: Samples,
}

/// Runs each command in turns, and reports.
pub(crate) async fn run(programs: &Path, short: bool) -> Result<Report> {
    let rounds = if short { 5 } else { 200 };
    let daemons = Daemons::start(programs, 1, &[]).await?;
    let measured = |name, command, most_ms| Measured { name, command, most_ms, samples: Samples::default() };
    let rbee = |arguments: &[&str]| {
        let mut command = daemons.command().into_std();
        command.args(arguments);
        command
    };
    let mut completion = rbee(&["--", "rbee", "infer", "-m", ""]);
    completion.env("RBEE_COMPLETE", "bash");
    let mut all = vec![
        measured(TRUE, Command::new(TRUE), None),
        measured("rbee --version", rbee(&["--version"]), Some(5.0)),
        measured("rbee hive status, with a warm queen", rbee(&["hive", "status"]), Some(20.0)),
        measured("TAB after rbee infer -m", completion, Some(50.0)),
    ];
    let mut docker = Command::new("docker");
    docker.arg("--version");
    if time_ms(&mut docker).is_ok() {
        all.push(measured(DOCKER, docker, None));
    } else {
        say("there is no docker to measure beside");
    }

    let mut load = Samples::default();
    for round in 0..=rounds {
        load.add(load_average()?);
        for Measured { name, command, samples, .. } in &mut all {
            let ms = time_ms(command).with_context(|| format!("`{name}`"))?;
            // The first has everything read from the disk.
            if round > 0 {
                samples.add(ms);
            }
        }
    }
    daemons.stop().await?;

    let mut report = Report::new("cli");
    report.figure("rounds", rounds);
    report.figure("load average of the machine, the median", load.median());
    let mut median = |name| all.iter_mut().find(|one| one.name == name).map(|one| one.samples.median());
    let (nothing, docker) = (median(TRUE), median(DOCKER));
    let header = ["what", "median ms", "p90 ms", "of `true`", "of `docker --version`", "wanted ms"];
    report.row(header.map(str::to_owned).to_vec());
    for Measured { name, most_ms, samples, .. } in &mut all {
        let median = samples.median();
        let of =
            |other: Option<f64>| other.map_or("–".to_owned(), |other| format!("{:.2}", median / other));
        let wanted = most_ms.map_or("–".to_owned(), |most| format!("≤ {most}"));
        let (ms, p90) = (format!("{median:.2}"), format!("{:.2}", samples.quantile(0.9)));
        report.row(vec![(*name).to_owned(), ms, p90, of(nothing), of(docker), wanted]);
        // Few rounds beside whatever else runs tell nothing.
        if let Some(most) = most_ms.filter(|_| !short) {
            report.require(median <= most, || format!("{name} takes {median:.1} ms, more than {most}"));
        }
    }
    Ok(report)
}

/// How long a command takes from before its start until after its end.
fn time_ms(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().context("it does not start")?;
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(ms)
}

/// How many threads wanted to run lately, going by the system.
fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    text.split(' ').next().and_then(|load| load.parse().ok()).context("a load average that is no number")
}
