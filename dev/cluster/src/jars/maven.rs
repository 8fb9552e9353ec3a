//! Jars of Flink from Maven Central.
//!
//! Maven is used where it is installed. Without it, a resolver that is a Python package does the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::cache::{Cache, Error, Fill, Measure, file, optional, required, verify};

const GROUP: &str = "org.apache.flink";
/// A package with a Maven resolver in Python.
const RESOLVER: &str = "jgo==3.2.0";
const RESOLVE: &str = include_str!("maven.py");

/// A jar of Flink that is not in its distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Artifact {
    /// Its id in the group of Flink.
    pub(super) id: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The digest of the jar.
    pub(super) sha256: &'static str,
}

impl Artifact {
    /// The path of the jar. Blocks while it is downloaded. `what` is for the progress: "the examples of Flink 2.3.0".
    pub(super) fn path(self, cache: &Cache, what: &str) -> Result<PathBuf, Error> {
        let jar = self.jar();
        let entry = cache.entry(
            &format!("{}-{}", self.id, self.version),
            &format!("downloading {what}"),
            |fill| {
                let downloaded = with_maven(fill, self).map_or_else(|| with_python(fill, self, what), Ok)?;
                verify(&downloaded, self.sha256)?;
                let (kept, unneeded) = (fill.folder().join(&jar), fill.folder().join("download"));
                fs::rename(&downloaded, &kept).map_err(file("move", &downloaded))?;
                fs::remove_dir_all(&unneeded).map_err(file("remove", &unneeded))
            },
        )?;
        Ok(entry.join(jar))
    }

    fn jar(self) -> String {
        format!("{}-{}.jar", self.id, self.version)
    }
}

/// `None` where Maven is not installed, or cannot do it: a Maven without its plugins and without network is of no use.
fn with_maven(fill: &Fill, artifact: Artifact) -> Option<PathBuf> {
    let folder = fill.folder().join("download");
    let mut maven = Command::new(optional("mvn")?);
    maven
        .args(["-q", "-B", "dependency:copy"])
        .arg(format!("-Dartifact={GROUP}:{}:{}", artifact.id, artifact.version))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        // No project: a pom.xml of the current folder would be read.
        .current_dir(fill.folder());
    fill.run(&maven, Measure::Time, "").ok()?;
    Some(folder.join(artifact.jar())).filter(|path| path.is_file())
}

fn with_python(fill: &Fill, artifact: Artifact, what: &str) -> Result<PathBuf, Error> {
    let python = required("python3", format!("downloading {what} without Maven"))?;
    let folder = fill.folder().join("download");
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    let packages = folder.join("python");
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-warn-script-location",
        ])
        .arg("--target")
        .args([&packages, Path::new(RESOLVER)]);
    let label = "installing a Maven resolver (a Python package)";
    let remedy = "It needs pip and its package index; or install Maven and put mvn on the PATH.";
    fill.step(label, &install, Measure::Time, remedy)?;
    let repository = folder.join("repository");
    let mut resolve = Command::new(&python);
    resolve
        .args(["-c", RESOLVE, GROUP, artifact.id, artifact.version])
        .arg(&repository)
        .env("PYTHONPATH", &packages);
    fill.run(
        &resolve,
        Measure::Time,
        "It needs Maven Central; or install Maven with a mirror and put mvn on the PATH.",
    )?;
    Ok(repository
        .join(GROUP.replace('.', "/"))
        .join(artifact.id)
        .join(artifact.version)
        .join(artifact.jar()))
}
