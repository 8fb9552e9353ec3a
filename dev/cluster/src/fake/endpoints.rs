//! Which endpoint a request is for.

/// The endpoints that the fake has, with the ids of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Root,
    Config,
    Overview,
    JobManagerConfig,
    JobsOverview,
    Job(String),
    JobExceptions(String),
    JobCheckpoints(String),
    JobStatus(String),
    CheckpointConfig(String),
    CancelJob(String),
    Savepoint(String),
    Stop(String),
    SavepointStatus(String, String),
    Dispose,
    DisposalStatus(String),
    Jars,
    UploadJar,
    RunJar(String),
    DeleteJar(String),
    /// Nothing that is here.
    Unknown,
}

impl Endpoint {
    pub(super) fn of(method: &str, path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match (method, segments.as_slice()) {
            ("GET", []) => Self::Root,
            ("GET", ["config"]) => Self::Config,
            ("GET", ["overview"]) => Self::Overview,
            ("GET", ["jobmanager", "config"]) => Self::JobManagerConfig,
            ("GET", ["jobs", "overview"]) => Self::JobsOverview,
            ("GET", ["jobs", id]) => Self::Job((*id).to_owned()),
            ("GET", ["jobs", id, "exceptions"]) => Self::JobExceptions((*id).to_owned()),
            ("GET", ["jobs", id, "checkpoints"]) => Self::JobCheckpoints((*id).to_owned()),
            ("GET", ["jobs", id, "status"]) => Self::JobStatus((*id).to_owned()),
            ("GET", ["jobs", id, "checkpoints", "config"]) => Self::CheckpointConfig((*id).to_owned()),
            ("POST", ["jobs", id, "savepoints"]) => Self::Savepoint((*id).to_owned()),
            ("POST", ["jobs", id, "stop"]) => Self::Stop((*id).to_owned()),
            ("GET", ["jobs", id, "savepoints", trigger]) => {
                Self::SavepointStatus((*id).to_owned(), (*trigger).to_owned())
            }
            ("POST", ["savepoint-disposal"]) => Self::Dispose,
            ("GET", ["savepoint-disposal", trigger]) => Self::DisposalStatus((*trigger).to_owned()),
            ("PATCH", ["jobs", id]) => Self::CancelJob((*id).to_owned()),
            ("GET", ["jars"]) => Self::Jars,
            ("POST", ["jars", "upload"]) => Self::UploadJar,
            ("POST", ["jars", id, "run"]) => Self::RunJar((*id).to_owned()),
            ("DELETE", ["jars", id]) => Self::DeleteJar((*id).to_owned()),
            _ => Self::Unknown,
        }
    }

    /// Whether success is 202: done later.
    pub(super) const fn is_accepted_first(&self) -> bool {
        matches!(self, Self::CancelJob(_) | Self::Savepoint(_) | Self::Stop(_))
    }

    /// The path with placeholders, as Flink's documentation writes it.
    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Config => "/config",
            Self::Overview => "/overview",
            Self::JobManagerConfig => "/jobmanager/config",
            Self::JobsOverview => "/jobs/overview",
            Self::Job(_) | Self::CancelJob(_) => "/jobs/:jobid",
            Self::JobExceptions(_) => "/jobs/:jobid/exceptions",
            Self::JobCheckpoints(_) => "/jobs/:jobid/checkpoints",
            Self::JobStatus(_) => "/jobs/:jobid/status",
            Self::CheckpointConfig(_) => "/jobs/:jobid/checkpoints/config",
            Self::Savepoint(_) => "/jobs/:jobid/savepoints",
            Self::Stop(_) => "/jobs/:jobid/stop",
            Self::SavepointStatus(..) => "/jobs/:jobid/savepoints/:triggerid",
            Self::Dispose => "/savepoint-disposal",
            Self::DisposalStatus(_) => "/savepoint-disposal/:triggerid",
            Self::Jars => "/jars",
            Self::UploadJar => "/jars/upload",
            Self::RunJar(_) => "/jars/:jarid/run",
            Self::DeleteJar(_) => "/jars/:jarid",
            Self::Unknown => "unknown",
        }
    }
}
