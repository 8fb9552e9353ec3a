//! The servers, the operator and the manifests that the demo plays with.

use std::time::Duration;

use crate::{
    Failure,
    arguments::Arguments,
    cluster::Cluster,
    flink::{Jar, Session},
    manifests::{Examples, install_crds},
    operator::Operator,
    show::Show,
};

/// How long the demo's resources in somebody's cluster may take to be deleted.
const CLEAN_WITHIN: Duration = Duration::from_secs(60);

/// All that runs. Dropped in this order: nobody is asked that has ended.
pub(crate) struct Stage {
    pub(crate) operator: Operator,
    pub(crate) examples: Examples,
    /// Whether Flink says where savepoints go. One of somebody else may not.
    pub(crate) savepoints: bool,
    _jar: Jar,
    pub(crate) session: Session,
    pub(crate) cluster: Cluster,
}

impl Stage {
    /// Starts all of it, and tells how it went.
    pub(crate) async fn set(arguments: &Arguments, show: &mut Show) -> Result<Self, Failure> {
        show.heading("Starting");
        let (cluster, session) = tokio::try_join!(
            Cluster::start(arguments.context.as_deref()),
            Session::start(arguments.flink_url.as_ref())
        )?;
        let jar = session.example_jar().await?;
        for (what, told) in [cluster.described(), session.described()] {
            show.done(&what, &told);
        }
        let client = cluster.client().await?;
        let kinds = install_crds(&client).await?;
        show.done("CRDs", &kinds.join(", "));
        let savepoints = session.keeps_savepoints().await?;
        let examples = Examples::new(&client, &arguments.namespace, session.url(), &jar.url, savepoints)?;
        examples.refuse_existing().await?;
        let operator = Operator::start(arguments, &cluster, &session, &jar).await?;
        show.done("Operator", "runs on this machine");
        examples.write(&operator.directory().join("examples"))?;
        Ok(Self {
            operator,
            examples,
            savepoints,
            _jar: jar,
            session,
            cluster,
        })
    }

    /// The error with what the logs say.
    pub(crate) fn explain(&self, error: &dyn std::error::Error) -> Failure {
        let logs = self.session.logs();
        let flink = logs.map_or_else(String::new, |logs| format!("\n\nFlink's logs are in {logs}"));
        let (log, tail) = (self.operator.log(), self.operator.tail());
        format!("{error}\n\nThe end of the operator's log {log}:\n{tail}{flink}").into()
    }

    /// Ends everything. In somebody's cluster the demo's resources are deleted first, while the operator runs.
    pub(crate) async fn clear(self, show: &mut Show) -> Result<(), Failure> {
        if matches!(self.cluster, Cluster::Own(_)) {
            return Ok(());
        }
        show.line("Deleting the demo's job, savepoints and session …");
        let late = "the demo's resources are not gone yet: remove them with `kubectl delete fsj,fsp,fses --all`, and \
                    their finalizers where no operator runs";
        tokio::time::timeout(CLEAN_WITHIN, self.examples.delete())
            .await
            .unwrap_or_else(|_| Err(late.into()))
    }
}
