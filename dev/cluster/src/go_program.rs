//! Programs that are compiled from Go modules.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::cache::{Cache, Error, Fill, Measure, file, is_program, required};

/// A program that is compiled from a Go module.
#[derive(Debug)]
pub(crate) struct GoProgram {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// What `go build` is told to build, within the module.
    pub(crate) package: &'static str,
    /// The wrapper module: names and contents.
    pub(crate) module: &'static [(&'static str, &'static str)],
    pub(crate) ldflags: &'static str,
    /// About how many lines `go build -v` prints with empty caches (kubectl: after the API server), for the progress bar.
    pub(crate) packages: u64,
}

impl GoProgram {
    /// Where it is. Blocks for minutes when the cache is empty.
    pub(crate) fn path(&self, cache: &Cache) -> Result<PathBuf, Error> {
        let provided = env::var_os("KUBEBUILDER_ASSETS").map(|assets| Path::new(&assets).join(self.name));
        if let Some(program) = provided.filter(|program| is_program(program)) {
            return Ok(program);
        }
        let entry = cache.entry(
            &format!("{}-{}", self.name, self.version),
            &format!("building {} {} from its Go module", self.name, self.version),
            |fill| self.build(fill),
        )?;
        Ok(entry.join(self.name))
    }

    fn build(&self, fill: &Fill) -> Result<(), Error> {
        let go = required("go", format!("building {} {}", self.name, self.version))?;
        let source = fill.folder().join("source");
        fs::create_dir(&source).map_err(file("create", &source))?;
        for (name, content) in self.module {
            let path = source.join(name);
            fs::write(&path, content).map_err(file("write", &path))?;
        }
        let mut build = Command::new(go);
        build
            .args([
                "build",
                "-v",
                "-mod=readonly",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                self.ldflags,
                "-o",
            ])
            .arg(fill.folder().join(self.name))
            .arg(self.package)
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off");
        let remedy = "Go needs its module proxy, 3 GB of disk and Go 1.26 or newer; KUBEBUILDER_ASSETS may name a \
                      folder with programs that are built already.";
        fill.run(
            &build,
            Measure::Lines {
                total: self.packages,
                unit: "packages",
            },
            remedy,
        )?;
        fill.remove("source")
    }
}
