//! What the process itself costs, under the names that Prometheus' own client libraries use.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Reads `/proc/self` at each scrape; shows nothing where there is none.
#[derive(Debug)]
pub(super) struct Process;

/// `USER_HZ`, the unit of times in `/proc`: 100 on every Linux architecture that Rust has a tier 1 or 2 target for.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = read("/proc/self/stat").as_deref().and_then(cpu_seconds) {
            let help = "CPU time that the process has used.";
            let metric = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        if let Some(bytes) = read("/proc/self/status").as_deref().and_then(resident_bytes) {
            let help = "Resident memory of the process.";
            let metric =
                encoder.encode_descriptor("process_resident_memory", help, Some(&Unit::Bytes), MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, user and system time; the name in field 2 may hold spaces and parentheses.
#[allow(clippy::cast_precision_loss, reason = "2^53 ticks are three million years")]
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields
        .split_ascii_whitespace()
        .skip(11)
        .map(|field| field.parse::<u64>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// `VmRSS` of `proc_pid_status(5)`, which is in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_their_manual() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(
            resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"),
            Some(2048 * 1024)
        );
        assert_eq!(cpu_seconds("garbage"), None);
        assert_eq!(resident_bytes("VmRSS: much"), None);
    }
}
