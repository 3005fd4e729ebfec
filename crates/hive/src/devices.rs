use std::time::Duration;

use rbee_protocol::{Device, DeviceKind};
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
        let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
        let cpu = Device {
            kind: DeviceKind::Cpu,
            name: if name.is_empty() { "CPU".to_owned() } else { name },
            threads: std::thread::available_parallelism().ok().map(|threads| threads.get() as u64),
            memory_total_bytes: system.total_memory(),
            memory_free_bytes: system.available_memory(),
        };
        let mut devices = vec![cpu];
        devices.extend(nvidia().await);
        Ok(Self {
            host: System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            memory_total_bytes: system.total_memory(),
            memory_available_bytes: system.available_memory(),
            devices,
        })
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
        memory_total_bytes: total << 20,
        memory_free_bytes: free << 20,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nvidia_smi_is_read() {
        let device = parse_nvidia("NVIDIA H200, 143771, 143098").expect("a usual line");
        assert_eq!((device.name.as_str(), device.memory_total_bytes), ("NVIDIA H200", 143_771 << 20));
        assert_eq!(device.memory_free_bytes, 143_098 << 20);
        assert_eq!(parse_nvidia("NVIDIA-SMI has failed"), None);
    }
}
