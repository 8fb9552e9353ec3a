//! What a process used, and what was written to the API server.

use std::{collections::BTreeMap, time::Duration};

use crate::world::World;

/// CPU and memory of a process, from `/proc`.
pub struct Usage {
    pub cpu: Duration,
    pub peak_mib: f64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the command's name in parentheses: utime and stime are the 12th and 13th fields, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: f64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
        Self {
            cpu: Duration::from_millis(ticks * 10),
            peak_mib: kib / 1024.0,
        }
    }
}

/// Writes that the API server has served, but for Leases and Events.
pub struct ApiWrites(BTreeMap<String, u64>);

impl ApiWrites {
    pub async fn read(world: &World) -> Self {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = world.client.request_text(request).await.unwrap();
        let mut writes = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let write = ["\"POST\"", "\"PUT\"", "\"PATCH\"", "\"DELETE\"", "\"APPLY\""]
                .iter()
                .any(|verb| line.contains(&format!("verb={verb}")));
            let ours = line.contains("group=\"flinkjobs.dev\"") || line.contains("resource=\"configmaps\"");
            if write && ours {
                let (name, value) = line.rsplit_once(' ').unwrap();
                writes.insert(name.to_owned(), value.parse::<f64>().unwrap() as u64);
            }
        }
        Self(writes)
    }

    pub fn since(&self, before: &Self) -> u64 {
        self.0
            .iter()
            .map(|(name, count)| count - before.0.get(name).copied().unwrap_or_default())
            .sum()
    }
}
