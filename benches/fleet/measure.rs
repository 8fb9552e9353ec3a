//! What a process used, and what was written to the API server.

use std::{collections::BTreeMap, time::Duration};

use devcluster::fake::FakeFlink;

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

/// The value that so many percent are not above.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// The requests to a cluster besides the poll of its job list, by endpoint, and how many there were.
pub fn besides_the_poll(fake: &FakeFlink) -> (u64, String) {
    let requests = fake.requests();
    let others: Vec<_> = requests
        .iter()
        .filter(|((_, endpoint), _)| *endpoint != "/jobs/overview")
        .collect();
    let words: Vec<String> = others
        .iter()
        .map(|((method, endpoint), count)| format!("{method} {endpoint} {count}"))
        .collect();
    let told = if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    };
    (others.iter().map(|(_, count)| *count).sum(), told)
}

/// Requests that the API server has served, by verb and resource: ours, and Events. Leases are left out.
pub struct ApiRequests(BTreeMap<(String, String), u64>);

impl ApiRequests {
    pub async fn read(world: &World) -> Self {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let text = world.client.request_text(request).await.unwrap();
        let mut requests = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap_or_default();
                rest.split('"').next().unwrap_or_default().to_owned()
            };
            let (mut resource, subresource) = (label("resource"), label("subresource"));
            if !subresource.is_empty() {
                resource = format!("{resource}/{subresource}");
            }
            let ours = label("group") == "flinkjobs.dev" || ["configmaps", "events"].contains(&resource.as_str());
            if ours {
                *requests.entry((label("verb"), resource)).or_default() += value.parse::<f64>().unwrap() as u64;
            }
        }
        Self(requests)
    }

    pub fn since(&self, before: &Self) -> Self {
        let difference = self.0.iter().map(|(key, count)| {
            let old = before.0.get(key).copied().unwrap_or_default();
            (key.clone(), count - old)
        });
        Self(difference.filter(|(_, count)| *count > 0).collect())
    }

    /// Those to one resource, such as `flinksessionjobs/status`, that change something.
    pub fn writes_of(&self, resource: &str) -> u64 {
        let of = self
            .0
            .iter()
            .filter(|((verb, other), _)| is_write(verb) && other == resource);
        of.map(|(_, count)| count).sum()
    }

    /// Those that change something.
    pub fn writes(&self) -> u64 {
        let writes = self.0.iter().filter(|((verb, _), _)| is_write(verb));
        writes.map(|(_, count)| count).sum()
    }
}

fn is_write(verb: &str) -> bool {
    ["POST", "PUT", "PATCH", "DELETE", "APPLY"].contains(&verb)
}

impl std::fmt::Display for ApiRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|((verb, resource), count)| format!("{verb} {resource} {count}"))
            .collect();
        f.write_str(
            if parts.is_empty() {
                "none".to_owned()
            } else {
                parts.join(", ")
            }
            .as_str(),
        )
    }
}
