//! Tools that this machine must have, and what to do when it has not.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::Error;

const JAVA: &str = "install a JDK of version 17 (Debian: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME";

/// The path of `tool`, or an error that says how to get it.
pub(crate) fn required(tool: &'static str, purpose: impl Into<String>) -> Result<PathBuf, Error> {
    let remedy = match tool {
        "go" => {
            "install Go 1.26 or newer and put its bin folder on the PATH, or name a folder that has etcd and \
             kube-apiserver in KUBEBUILDER_ASSETS"
        }
        "python3" => "install Python 3 with pip (Debian: apt-get install python3 python3-pip)",
        "java" | "javac" => JAVA,
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

/// The Java launcher: of `JAVA_HOME` where that is set, else of the PATH.
pub(crate) fn java() -> Result<PathBuf, Error> {
    of_java_home("java").map_or_else(|| required("java", "running Flink"), Ok)
}

/// The Java compiler, found like [`java`].
pub(crate) fn javac() -> Result<PathBuf, Error> {
    of_java_home("javac").map_or_else(|| required("javac", "compiling the test jobs"), Ok)
}

fn of_java_home(tool: &str) -> Option<PathBuf> {
    Some(Path::new(&env::var_os("JAVA_HOME")?).join("bin").join(tool)).filter(|path| is_program(path))
}

pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
