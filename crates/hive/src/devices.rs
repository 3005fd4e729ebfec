#[cfg(target_os = "linux")]
use std::collections::HashSet;
#[cfg(target_os = "linux")]
use std::fs;
use std::thread::available_parallelism;
use std::time::Duration;

use rbee_protocol::{Device, DeviceKind, Instructions};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::process::Command;
use tokio::time::timeout;

/// A driver that answers later than this is taken for absent.
const NVIDIA_SMI_TIMEOUT: Duration = Duration::from_secs(3);

/// What this machine can run models on.
pub(crate) struct Machine {
    pub(crate) host: String,
    pub(crate) memory_total_bytes: u64,
    pub(crate) memory_available_bytes: u64,
    pub(crate) devices: Vec<Device>,
}

impl Machine {
    pub(crate) async fn look() -> Result<Self, sysinfo::Error> {
        let kinds = RefreshKind::nothing()
            .with_memory(MemoryRefreshKind::nothing().with_ram())
            .with_cpu(CpuRefreshKind::nothing());
        let system = System::new_with_specifics(kinds)?;
        // A container's limit is often far below what the machine has.
        let limits = system.cgroup_limits();
        let within = |machine: u64, limit: Option<u64>| limit.map_or(machine, |limit| machine.min(limit));
        let memory_total_bytes =
            within(system.total_memory(), limits.as_ref().map(|limits| limits.total_memory));
        let memory_available_bytes = within(
            system.available_memory(),
            limits.map(|limits| limits.total_memory.saturating_sub(limits.rss)),
        );
        let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
        let cpu = Device {
            kind: DeviceKind::Cpu,
            name: if name.is_empty() { "CPU".to_owned() } else { name },
            threads: available_parallelism().ok().map(|threads| threads.get() as u64),
            cores: cores().map(|cores| cores as u64),
            memory_total_bytes,
            memory_free_bytes: memory_available_bytes,
        };
        let mut devices = vec![cpu];
        devices.extend(nvidia().await);
        Ok(Self {
            host: System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            memory_total_bytes,
            memory_available_bytes,
            devices,
        })
    }
}

/// How many physical cores this process may use, going by its affinity and by its quota: what computes gains nothing
/// from a second thread on one of them.
pub(crate) fn cores() -> Option<usize> {
    let threads = available_parallelism().ok()?.get();
    #[cfg(target_os = "linux")]
    let cores = cores_of(&allowed_cpus()?, |cpu| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(path).ok()
    })?;
    #[cfg(not(target_os = "linux"))]
    let cores = System::physical_core_count()?;
    Some(cores.clamp(1, threads))
}

/// The processors on which this process may run, as the kernel lists them, e.g. `0-3,8`.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// How many cores the processors in `list` are, where `siblings` says for each with which others it shares one.
#[cfg(target_os = "linux")]
fn cores_of(list: &str, siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let mut cores = HashSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for cpu in first.parse().ok()?..=last.parse().ok()? {
            cores.insert(siblings(cpu)?);
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

macro_rules! instructions {
    ($detected:ident: $($name:tt)*) => {
        [$({
            let is_there = std::arch::$detected!($name);
            // With those backends, a worker takes the one that uses what there is.
            let is_used = if cfg!(feature = "dynamic-backends") { is_there } else { cfg!(target_feature = $name) };
            ($name, is_used, is_there)
        }),*]
    };
}

/// The instruction sets that llama.cpp has code for, and whether workers use them and this processor has them. Hive and
/// worker are built with the same settings.
pub(crate) fn instructions() -> Instructions {
    #[cfg(target_arch = "x86_64")]
    let sets = instructions!(is_x86_feature_detected:
        "sse4.2" "avx" "f16c" "fma" "avx2" "bmi2" "avxvnni" "avx512f" "avx512bw" "avx512vbmi" "avx512vnni" "avx512bf16");
    #[cfg(target_arch = "aarch64")]
    let sets = instructions!(is_aarch64_feature_detected: "neon" "fp16" "dotprod" "i8mm" "sve" "sve2" "sme");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let sets: [(&str, bool, bool); 0] = [];
    let named = |wanted: fn(bool, bool) -> bool| {
        let sets = sets.iter().filter(|(_, is_used, is_there)| wanted(*is_used, *is_there));
        sets.map(|(name, ..)| (*name).to_owned()).collect()
    };
    Instructions {
        used: named(|is_used, _| is_used),
        unused: named(|is_used, is_there| is_there && !is_used),
    }
}

/// The NVIDIA cards that their driver's own tool tells of; none where there is no such tool.
async fn nvidia() -> Vec<Device> {
    let mut command = Command::new("nvidia-smi");
    command
        .args(["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"])
        .kill_on_drop(true);
    match timeout(NVIDIA_SMI_TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_nvidia).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a line such as `NVIDIA H200, 143771, 143098`, memory in MiB.
fn parse_nvidia(line: &str) -> Option<Device> {
    let mut fields = line.rsplitn(3, ',').map(str::trim);
    let free: u64 = fields.next()?.parse().ok()?;
    let total: u64 = fields.next()?.parse().ok()?;
    Some(Device {
        kind: DeviceKind::Nvidia,
        name: fields.next()?.to_owned(),
        threads: None,
        cores: None,
        memory_total_bytes: total << 20,
        memory_free_bytes: free << 20,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_of_one_core_count_once() {
        let paired = |cpu: usize| Some(format!("{}-{}", cpu / 2 * 2, cpu / 2 * 2 + 1));
        assert_eq!(cores_of("0-7", paired), Some(4));
        assert_eq!(cores_of("1,2-3,7", paired), Some(3));
        assert_eq!(cores_of("0-3", |cpu| Some(cpu.to_string())), Some(4));
        assert_eq!(cores_of("0-3", |_| None), None);
        assert_eq!(cores_of("", paired), None);
    }

    #[test]
    fn a_build_uses_no_instructions_that_the_processor_lacks() {
        let Instructions { used, unused } = instructions();
        assert!(used.iter().all(|name| !unused.contains(name)));
        assert!(!used.is_empty());
        assert!(cores().is_none_or(|cores| cores >= 1));
    }

    #[test]
    fn a_line_of_nvidia_smi_is_read() {
        let device = parse_nvidia("NVIDIA H200, 143771, 143098").expect("a usual line");
        assert_eq!((device.name.as_str(), device.memory_total_bytes), ("NVIDIA H200", 143_771 << 20));
        assert_eq!(device.memory_free_bytes, 143_098 << 20);
        assert_eq!(parse_nvidia("NVIDIA-SMI has failed"), None);
    }
}
