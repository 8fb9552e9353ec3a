//! Flink's distribution, from the Python package that ships it (`apache-flink-libraries`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::FlinkVersion;
use crate::cache::{Cache, Error, Fill, Measure, file, required};

/// One published archive. The package of Flink 1.20 is a source archive, that of 2.3 a wheel.
#[derive(Debug)]
struct Archive {
    sha256: &'static str,
    bytes: u64,
    /// The folder of the archive that has `bin`, `lib`, `opt` and `plugins`.
    home: &'static str,
}

impl FlinkVersion {
    fn archive(self) -> Archive {
        match self {
            Self::V1_20 => Archive {
                sha256: "e6aee62ea1a1fe7b32e28894ad079f3f1a50a372a4caac3df52405267f4228c8",
                bytes: 231_999_354,
                home: "apache_flink_libraries-1.20.5/deps",
            },
            Self::V2_3 => Archive {
                sha256: "38ece876553286b3a285cf344c2d2038f8a7ca10da5df54d5107250386d64151",
                bytes: 329_139_814,
                home: "pyflink",
            },
        }
    }
}

/// The folder with Flink's `bin`, `lib`, `opt` and `plugins`. Blocks while it is downloaded (230 to 330 MB).
pub fn distribution(cache: &Cache, version: FlinkVersion) -> Result<PathBuf, Error> {
    let label = format!("downloading Flink {version} (a Python package)");
    cache.entry(&format!("flink-{version}"), &label, |fill| download(fill, version))
}

fn download(fill: &Fill, version: FlinkVersion) -> Result<(), Error> {
    let python = required("python3", format!("downloading Flink {version}"))?;
    let Archive { sha256, bytes, home } = version.archive();
    fill.write(
        "requirements.txt",
        format!("apache-flink-libraries=={version} --hash=sha256:{sha256}\n").as_bytes(),
    )?;
    // pip's temporary files count for the progress, and its cache would keep the archive a second time.
    let (archives, temporary) = (fill.folder().join("archives"), fill.folder().join("tmp"));
    for folder in [&archives, &temporary] {
        fs::create_dir(folder).map_err(file("create", folder))?;
    }
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--require-hashes",
        "--progress-bar=off",
    ])
    .arg("--disable-pip-version-check")
    .args(["-r", "requirements.txt", "-d", "archives"])
    .env("TMPDIR", &temporary)
    .current_dir(fill.folder());
    let remedy = "pip needs its package index (set PIP_INDEX_URL for a mirror); where pip itself is missing: apt-get \
                  install python3-pip python3-venv, or python3 -m ensurepip.";
    fill.run(
        &pip,
        Measure::Bytes {
            total: bytes,
            folder: fill.folder(),
        },
        remedy,
    )?;
    unpack(fill, &python, &archives, version)?;
    for part in ["bin", "lib", "opt", "plugins"] {
        let (from, to) = (
            fill.folder().join("unpacked").join(home).join(part),
            fill.folder().join(part),
        );
        fs::rename(&from, &to).map_err(file("move", &from))?;
    }
    ["archives", "tmp", "unpacked", "requirements.txt"]
        .iter()
        .try_for_each(|name| fill.remove(name))
}

/// Python can unpack both kinds, so that no other tool is needed.
fn unpack(fill: &Fill, python: &Path, archives: &Path, version: FlinkVersion) -> Result<(), Error> {
    let list = fs::read_dir(archives).map_err(file("list", archives))?;
    let archive = list
        .flatten()
        .map(|entry| entry.path())
        .next()
        .ok_or_else(|| Error::Unexpected {
            what: format!("the download of Flink {version}"),
            expected: "one archive".to_owned(),
            found: "nothing".to_owned(),
        })?;
    let module = if archive.extension().is_some_and(|end| end == "whl") {
        "zipfile"
    } else {
        "tarfile"
    };
    let mut unpack = Command::new(python);
    unpack
        .args(["-m", module, "-e"])
        .arg(archive)
        .arg("unpacked")
        .current_dir(fill.folder());
    fill.step(&format!("unpacking Flink {version}"), &unpack, Measure::Time, "")
}
