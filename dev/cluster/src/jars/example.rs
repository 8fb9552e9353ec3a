//! The example jar, from Maven Central.
//!
//! Maven is used where it is installed. Without it, a resolver that is a Python package does the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    FlinkVersion,
    cache::{Cache, Error, Fill, Measure, file, optional, required, verify},
};

const GROUP: &str = "org.apache.flink";
const ARTIFACT: &str = "flink-examples-streaming";
/// A package with a Maven resolver in Python.
const RESOLVER: &str = "jgo==3.2.0";
const RESOLVE: &str = include_str!("maven.py");

fn sha256(version: FlinkVersion) -> &'static str {
    match version {
        FlinkVersion::V1_20 => "4b841187f2ab7d4a1e1e348e5d646509fa20d4834a7da0bf45ab2341b5d9df12",
        FlinkVersion::V2_3 => "6bab7c5329ae2996eca7ce652efd390e12c8075db4fdb104e0c437bcb5ce7d75",
    }
}

pub(super) fn path(cache: &Cache, version: FlinkVersion) -> Result<PathBuf, Error> {
    let (jar, release) = (format!("{ARTIFACT}-{}.jar", version.examples()), version.examples());
    let label = format!("downloading the examples of Flink {release}");
    let entry = cache.entry(&format!("flink-examples-{release}"), &label, |fill| {
        let downloaded = with_maven(fill, release, &jar).map_or_else(|| with_python(fill, release, &jar), Ok)?;
        verify(&downloaded, sha256(version))?;
        let (kept, unneeded) = (fill.folder().join(&jar), fill.folder().join("download"));
        fs::rename(&downloaded, &kept).map_err(file("move", &downloaded))?;
        fs::remove_dir_all(&unneeded).map_err(file("remove", &unneeded))
    })?;
    Ok(entry.join(jar))
}

/// `None` where Maven is not installed, or cannot do it: a Maven without its plugins and without network is of no use.
fn with_maven(fill: &Fill, release: &str, jar: &str) -> Option<PathBuf> {
    let folder = fill.folder().join("download");
    let mut maven = Command::new(optional("mvn")?);
    maven
        .args(["-q", "-B", "dependency:copy"])
        .arg(format!("-Dartifact={GROUP}:{ARTIFACT}:{release}"))
        .arg(format!("-DoutputDirectory={}", folder.display()))
        // No project: a pom.xml of the current folder would be read.
        .current_dir(fill.folder());
    fill.run(&maven, Measure::Time, "").ok()?;
    Some(folder.join(jar)).filter(|path| path.is_file())
}

fn with_python(fill: &Fill, release: &str, jar: &str) -> Result<PathBuf, Error> {
    let python = required("python3", "downloading the examples of Flink without Maven")?;
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
        .args(["-c", RESOLVE, GROUP, ARTIFACT, release])
        .arg(&repository)
        .env("PYTHONPATH", &packages);
    fill.run(
        &resolve,
        Measure::Time,
        "It needs Maven Central; or install Maven with a mirror and put mvn on the PATH.",
    )?;
    Ok(repository
        .join(GROUP.replace('.', "/"))
        .join(ARTIFACT)
        .join(release)
        .join(jar))
}
