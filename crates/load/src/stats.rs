//! Percentiles, and what the system says of a process.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::process::Pid;

/// Ticks of a process's clock in a second; Linux has told programs this number for ever.
const TICKS_PER_SECOND: f64 = 100.0;

/// Values of which percentiles are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that this part of all values, from 0 to 1, does not exceed; 0 where there is none.
    pub(crate) fn quantile(&mut self, part: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among a few million values"
        )]
        let place = (part * (self.0.len() - 1) as f64).ceil() as usize;
        self.0[place.min(self.0.len() - 1)]
    }

    /// The middle value, or what lies between the two in the middle; 0 where there is none.
    pub(crate) fn median(&mut self) -> f64 {
        let upper = self.quantile(0.5);
        match self.0.len() {
            0 => 0.0,
            count => f64::midpoint(self.0[(count - 1) / 2], upper),
        }
    }
}

/// What the system says of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    /// Time on a processor so far, the system's on its behalf included.
    pub(crate) cpu: Duration,
}

impl Usage {
    pub(crate) fn of(pid: Pid) -> Result<Self> {
        Ok(Self { rss_bytes: rss_bytes(pid)?, cpu: cpu(pid)? })
    }
}

/// The open descriptors of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    pub(crate) sockets: usize,
    /// Those that are no sockets.
    pub(crate) files: usize,
}

impl Descriptors {
    /// Counts them. `None` where the process keeps them to itself, as daemons do from all but root.
    pub(crate) fn of(pid: Pid) -> Result<Option<Self>> {
        let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {folder}")),
        };
        // One that is closed while it is looked at is gone.
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let is_socket = |target: &PathBuf| target.to_string_lossy().starts_with("socket:");
        let (sockets, files): (Vec<_>, Vec<_>) = targets.partition(is_socket);
        Ok(Some(Self { sockets: sockets.len(), files: files.len() }))
    }
}

/// How long a process was on a processor so far. Also what keeps itself private tells this.
pub(crate) fn cpu(pid: Pid) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // The program's name, in parentheses, may hold anything; after it come single words.
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| words.get(place).and_then(|word| word.parse::<u32>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("a process without a clock")?;
    Ok(Duration::from_secs_f64(f64::from(user + system) / TICKS_PER_SECOND))
}

fn read(pid: Pid, name: &str) -> Result<String> {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// What a process has of the machine's memory. Also what keeps itself private tells this.
pub(crate) fn rss_bytes(pid: Pid) -> Result<u64> {
    let status = read(pid, "status")?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let rss_kb: u64 = rss.and_then(|kb| kb.parse().ok()).context("a process without memory")?;
    Ok(rss_kb << 10)
}

/// The time in microseconds since the Unix epoch, which processes of one machine agree on.
pub(crate) fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// Bytes as mebibytes, for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantile(0.5), 0.0);
        (1..=1000).rev().for_each(|value| samples.add(f64::from(value)));
        let got = [0.0, 0.5, 0.99, 0.999, 1.0].map(|part| samples.quantile(part));
        assert_eq!(got, [1.0, 501.0, 991.0, 1000.0, 1000.0]);
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        let median = |values: &[f64]| {
            let mut samples = Samples::default();
            values.iter().for_each(|value| samples.add(*value));
            samples.median()
        };
        assert_eq!([median(&[]), median(&[3.0]), median(&[4.0, 1.0])], [0.0, 3.0, 2.5]);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let pid = rustix::process::getpid();
        assert!(Usage::of(pid).expect("this process runs").rss_bytes > 0);
        let descriptors = Descriptors::of(pid).expect("this process runs").expect("it is ours");
        assert!(descriptors.files > 2, "{descriptors:?}");
    }
}
