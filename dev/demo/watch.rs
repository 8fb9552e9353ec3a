//! The job, as the API server tells it.

use flink_job_operator::api::FlinkSessionJob;
use futures::{StreamExt, pin_mut};
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

/// What was seen.
pub(crate) enum Sight {
    /// The job, with its newest status.
    Job(Box<FlinkSessionJob>),
    /// There is no such job.
    Absent,
}

/// Every version of one job, in order.
pub(crate) struct Watch {
    sights: mpsc::UnboundedReceiver<Sight>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Watches the job of this name, which need not be there yet.
    pub(crate) fn start(jobs: Api<FlinkSessionJob>, name: &str) -> Self {
        let (send, sights) = mpsc::unbounded_channel();
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let task = tokio::spawn(async move {
            let events = watcher::watcher(jobs, config).default_backoff();
            pin_mut!(events);
            let mut listed = false;
            while let Some(event) = events.next().await {
                let sight = match event {
                    Ok(Event::Apply(job)) => Sight::Job(Box::new(job)),
                    Ok(Event::InitApply(job)) => {
                        listed = true;
                        Sight::Job(Box::new(job))
                    }
                    Ok(Event::Delete(_)) => Sight::Absent,
                    Ok(Event::InitDone) if !std::mem::take(&mut listed) => Sight::Absent,
                    // The watch goes on by itself after an error.
                    Ok(Event::Init | Event::InitDone) | Err(_) => continue,
                };
                if send.send(sight).is_err() {
                    return;
                }
            }
        });
        Self { sights, task }
    }

    /// The next sight. Never ends while this lives.
    pub(crate) async fn next(&mut self) -> Option<Sight> {
        self.sights.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
