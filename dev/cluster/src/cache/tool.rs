//! Tools that this machine must have, and what to do when it has not.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Error;

/// The path of `tool`, or an error that says how to get it.
pub(crate) fn required(tool: &'static str, purpose: impl Into<String>) -> Result<PathBuf, Error> {
    let remedy = match tool {
        "go" => {
            "install Go 1.26 or newer and put its bin folder on the PATH, or name a folder that has etcd and kube-apiserver \
             in KUBEBUILDER_ASSETS"
        }
        "python3" => "install Python 3 with pip (Debian: apt-get install python3 python3-pip)",
        _ => "install it and put it on the PATH",
    };
    optional(tool).ok_or_else(|| Error::MissingTool {
        tool,
        purpose: purpose.into(),
        remedy,
    })
}

/// The path of `tool` where it is on the PATH.
pub(crate) fn optional(tool: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(tool))
        .find(|path| is_program(path))
}

pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
