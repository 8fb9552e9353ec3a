//! What the demo does, in order.

use std::time::{Duration, Instant};

use devcluster::{cache::Cache, control_plane};
use flink_job_operator::api::{FlinkSessionJob, JobStatus};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    Failure,
    arguments::Arguments,
    show::{self, Show},
    stage::Stage,
    story,
    watch::{Sight, Watch},
};

/// A start or an upgrade takes seconds; a busy machine may take longer.
const STEP_WITHIN: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);

/// Plays the demo to its end, or until Ctrl-C.
pub(crate) async fn play(arguments: &Arguments, show: &mut Show) -> Result<(), Failure> {
    let interrupted = on_interrupt();
    show.line("A real API server, a real Flink, a real job. Ctrl-C ends all of it.");
    let stage = tokio::select! {
        stage = Stage::set(arguments, show) => stage?,
        () = interrupted.cancelled() => return Err("interrupted".into()),
    };
    let played = tokio::select! {
        played = Act::perform(&stage, arguments.exit, show) => played,
        () = interrupted.cancelled() => Ok(()),
    };
    show.clear();
    let early = arguments.exit && interrupted.is_cancelled();
    let played = played.map_err(|error| stage.explain(&*error));
    let cleared = stage.clear(show).await;
    show.line("Everything that the demo started is gone.");
    played?;
    if early { Err("interrupted".into()) } else { cleared }
}

/// Cancelled by Ctrl-C. The second Ctrl-C ends the process where it is.
fn on_interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let interrupted = token.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    token
}

/// The job's way through the demo.
struct Act<'a> {
    stage: &'a Stage,
    show: &'a mut Show,
    watch: Watch,
    name: String,
    job: Option<FlinkSessionJob>,
    /// When the user did the last thing.
    since: Instant,
    /// When the phase changed last.
    phase_since: Instant,
}

impl<'a> Act<'a> {
    async fn perform(stage: &'a Stage, exit: bool, show: &'a mut Show) -> Result<(), Failure> {
        let name = stage.examples.job_name()?.to_owned();
        let now = Instant::now();
        let mut act = Act {
            watch: Watch::start(stage.examples.jobs(), &name),
            stage,
            show,
            name,
            job: None,
            since: now,
            phase_since: now,
        };
        act.start().await?;
        act.upgrade().await?;
        if exit {
            return act.delete().await;
        }
        act.tell().await;
        act.linger().await
    }

    async fn start(&mut self) -> Result<(), Failure> {
        self.user("kubectl apply -f examples/");
        self.stage.examples.apply().await?;
        self.until("the job runs", |job| job.is_some_and(story::runs_as_asked))
            .await?;
        self.flink_agrees(1).await
    }

    async fn upgrade(&mut self) -> Result<(), Failure> {
        let change = json!({"spec": {"job": {"parallelism": 2}}});
        self.user(&format!("kubectl patch fsj {} --type merge -p '{change}'", self.name));
        let (params, patch) = (PatchParams::default(), Patch::Merge(&change));
        let changed = self.stage.examples.jobs().patch(&self.name, &params, &patch).await?;
        self.until("the change is rolled out", |job| {
            job.is_some_and(|job| job.metadata.generation >= changed.metadata.generation && story::runs_as_asked(job))
        })
        .await?;
        self.flink_agrees(2).await?;
        self.state_was_kept().await
    }

    /// Asks Flink itself: the new job was restored from the savepoint that the old one was stopped with.
    async fn state_was_kept(&mut self) -> Result<(), Failure> {
        if !self.stage.savepoints {
            let why = "this Flink names no directory for savepoints (execution.checkpointing.savepoint-dir)";
            self.show.done("State was not kept", why);
            return Ok(());
        }
        let status = self.status();
        let state = status.state.unwrap_or_default();
        let intended = state
            .restored_from
            .ok_or("the status does not say what the job was restored from")?;
        let job = status.job_id.ok_or("the status has no JobID")?;
        match self.stage.session.restored(job).await? {
            Some(restored) if restored.is_savepoint && restored.path == intended.path => {
                self.show
                    .done("Its state was kept", &format!("restored from {}", restored.path));
                Ok(())
            }
            restored => Err(format!(
                "the job was to be restored from {}, and Flink says that it was restored from {restored:?}",
                intended.path
            )
            .into()),
        }
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        self.user(&format!("kubectl delete fsj {}", self.name));
        let jobs = self.stage.examples.jobs();
        jobs.delete(&self.name, &DeleteParams::default()).await?;
        self.until("the job is deleted", |job| job.is_none()).await?;
        let left = self.stage.session.live_jobs().await?;
        if let Some(job) = left.first() {
            return Err(format!("the resource is gone, but job {} is still {}", job.jid, job.state).into());
        }
        self.show.done("Flink agrees", "no job runs");
        let deleted = tokio::time::timeout(STEP_WITHIN, self.stage.examples.delete()).await;
        deleted.map_err(|_| format!("the savepoints and the FlinkSession were not deleted in {STEP_WITHIN:?}"))??;
        self.show
            .done("All is deleted", "the savepoints with their files, and the session");
        Ok(())
    }

    /// Something that the user does, or could have done.
    fn user(&mut self, command: &str) {
        self.show.heading(&format!("$ {command}"));
        self.since = Instant::now();
    }

    /// Asks Flink itself: the job of the status runs, and no other.
    async fn flink_agrees(&mut self, submissions: usize) -> Result<(), Failure> {
        let status = self.status();
        let live = self.stage.session.live_jobs().await?;
        let listed = live
            .iter()
            .filter(|job| Some(job.jid) == status.job_id && job.state == "RUNNING");
        let counted = self.stage.session.submissions()?;
        // A Flink of somebody else may run other jobs.
        let alone = counted.is_none() || live.len() == 1;
        if listed.count() != 1 || !alone || counted.is_some_and(|counted| counted != submissions) {
            return Err(format!(
                "Flink does not agree that job {:?} runs alone, submission {submissions}: it lists {live:?} and accepted \
                 {counted:?} submissions",
                status.job_id
            )
            .into());
        }
        let told = counted.map_or_else(String::new, |counted| format!(", {counted} accepted since it started"));
        self.show.done("Flink agrees", &format!("one job runs{told}"));
        Ok(())
    }

    fn status(&self) -> JobStatus {
        let status = self.job.as_ref().and_then(|job| job.status.clone());
        status.unwrap_or_default()
    }

    /// Follows the job until `met`. Fails when the operator ends, when a person would have to act, or after a time.
    async fn until(&mut self, what: &str, met: impl Fn(Option<&FlinkSessionJob>) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + STEP_WITHIN;
        // What is known from before says nothing of what was just done.
        self.follow().await?;
        while !met(self.job.as_ref()) {
            if let Some(stalled) = self.job.as_ref().and_then(story::stalled) {
                return Err(format!("it was expected that {what}, but: {stalled}").into());
            }
            if Instant::now() > deadline {
                let status = serde_json::to_string_pretty(&self.status())?;
                return Err(
                    format!("it was expected that {what} within {STEP_WITHIN:?}; the status is {status}").into(),
                );
            }
            self.follow().await?;
        }
        Ok(())
    }

    /// Takes in what happens within a tick.
    async fn follow(&mut self) -> Result<(), Failure> {
        tokio::select! {
            sight = self.watch.next() => self.saw(sight.ok_or("the watch ended")?),
            () = tokio::time::sleep(TICK) => self.stage.operator.running()?,
        }
        self.draw();
        Ok(())
    }

    fn saw(&mut self, sight: Sight) {
        match sight {
            Sight::Job(job) => {
                if self.job.as_ref().map(story::phase) != Some(story::phase(&job)) {
                    self.phase_since = Instant::now();
                }
                if let Some(moment) = story::news(self.job.as_ref(), &job) {
                    self.show.moment(self.since.elapsed(), &moment);
                }
                self.job = Some(*job);
            }
            Sight::Absent => {
                if self.job.take().is_some() {
                    let gone = story::Moment {
                        phase: "deleted".to_owned(),
                        text: "the resource is gone".to_owned(),
                        tone: story::Tone::Good,
                    };
                    self.show.moment(self.since.elapsed(), &gone);
                }
            }
        }
    }

    fn draw(&mut self) {
        let Some(job) = &self.job else {
            self.show.block(vec![String::new(), show::rule("no FlinkSessionJob")]);
            return;
        };
        let title = format!(
            "FlinkSessionJob {}/{}",
            job.namespace().unwrap_or_default(),
            job.name_any()
        );
        let time = story::spoken(jiff::SignedDuration::try_from(self.phase_since.elapsed()).unwrap_or_default());
        let phase = show::of(story::tone(job)).apply_to(story::phase(job));
        let mut lines = vec![String::new(), show::rule(&title)];
        lines.push(show::row("Phase", &format!("{phase} for {time}")));
        let rows = story::rows(job, jiff::Timestamp::now());
        lines.extend(rows.iter().map(|(word, text)| show::row(word, text)));
        self.show.block(lines);
    }

    /// The addresses, and what to try next.
    async fn tell(&mut self) {
        let kubectl = self.kubectl().await;
        let folder = self.stage.operator.directory().join("examples");
        let show = &mut *self.show;
        show.heading("It runs. Look at it");
        show.done("Flink's web UI", self.stage.session.url());
        if let Some(url) = self
            .job
            .as_ref()
            .and_then(|job| job.status.as_ref()?.web_ui_url.clone())
        {
            show.done("The job's page", &url);
        }
        show.done("Metrics", &self.stage.operator.metrics());
        show.heading("The operator's log");
        show.command(&self.stage.operator.log());
        show.heading("In another terminal");
        if let Some(kubeconfig) = self.stage.cluster.kubeconfig() {
            show.command(&format!("export KUBECONFIG={}", kubeconfig.display()));
        }
        if let Some(setup) = kubectl {
            show.command(&setup);
        }
        for command in [
            "kubectl get fsj,fses,fsp".to_owned(),
            "kubectl get fsj -w -o wide".to_owned(),
            format!("kubectl describe fsj {}", self.name),
            format!("kubectl edit fsj {}      # change spec.job.args", self.name),
            format!(
                r#"kubectl patch fsj {} --type merge -p '{{"spec":{{"state":"Suspended"}}}}'"#,
                self.name
            ),
            format!(
                r#"kubectl patch fsj {} --type merge -p '{{"spec":{{"state":"Running"}}}}'"#,
                self.name
            ),
            format!("kubectl delete fsj {}", self.name),
            format!("kubectl apply -f {}", folder.display()),
        ] {
            show.command(&command);
        }
        show.heading("Below is what happens, until Ctrl-C");
        self.since = Instant::now();
    }

    /// How to get kubectl where it is not installed: it is built for the demo.
    async fn kubectl(&mut self) -> Option<String> {
        let path = std::env::var_os("PATH")?;
        if std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()) {
            return None;
        }
        self.show.clear();
        let built = tokio::task::spawn_blocking(|| control_plane::kubectl(&Cache::open()?)).await;
        let folder = built.ok()?.ok()?.parent()?.to_owned();
        Some(format!("export PATH=\"$PATH:{}\"", folder.display()))
    }

    /// Shows what the user does, for ever.
    async fn linger(&mut self) -> Result<(), Failure> {
        loop {
            self.follow().await?;
        }
    }
}
