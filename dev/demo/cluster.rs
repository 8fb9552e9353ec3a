//! The Kubernetes cluster: our own API server, or the user's.

use std::path::PathBuf;

use devcluster::{ControlPlane, control_plane};
use kube::{Client, Config, config::KubeConfigOptions};

use crate::Failure;

/// A cluster that is ready.
pub(crate) enum Cluster {
    /// etcd and kube-apiserver, which end with the demo.
    Own(Box<ControlPlane>),
    /// A context of the user's kubeconfig.
    Context(String),
}

impl Cluster {
    /// Starts our own API server, unless a context is named.
    pub(crate) async fn start(context: Option<&str>) -> Result<Self, Failure> {
        Ok(match context {
            Some(name) => Self::Context(name.to_owned()),
            None => Self::Own(Box::new(ControlPlane::start().await?)),
        })
    }

    /// What it is, where it is, and how long it took to start.
    pub(crate) fn described(&self) -> (String, String) {
        match self {
            Self::Own(plane) => (
                format!("Kubernetes {}", control_plane::KUBERNETES),
                format!("{}, ready in {:.1} s", plane.url(), plane.ready_after().as_secs_f64()),
            ),
            Self::Context(name) => ("Kubernetes".to_owned(), format!("context {name} of your kubeconfig")),
        }
    }

    /// A client with administrator's, or the user's, rights.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        match self {
            Self::Own(plane) => Ok(plane.client().await?),
            Self::Context(name) => {
                devcluster::install_crypto();
                let options = KubeConfigOptions {
                    context: Some(name.clone()),
                    ..KubeConfigOptions::default()
                };
                let config = Config::from_kubeconfig(&options)
                    .await
                    .map_err(|error| format!("no context {name} in your kubeconfig: {error}"))?;
                Ok(Client::try_from(config)?)
            }
        }
    }

    /// The flags that make the operator use this cluster.
    pub(crate) fn flags(&self) -> [String; 2] {
        match self {
            Self::Own(plane) => ["--kubeconfig".to_owned(), plane.kubeconfig().display().to_string()],
            Self::Context(name) => ["--context".to_owned(), name.clone()],
        }
    }

    /// The kubeconfig to export, where it is our own.
    pub(crate) fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Own(plane) => Some(plane.kubeconfig().to_owned()),
            Self::Context(_) => None,
        }
    }
}
