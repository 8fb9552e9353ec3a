//! etcd, kube-apiserver and kubectl, compiled from their Go modules.
//!
//! Neither etcd nor Kubernetes can be installed by `go install` (Kubernetes' `go.mod` has replacements), so a wrapper
//! module for each pins their versions and those of all they need, see `dev/cluster/go`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::cache::{Cache, Error, Fill, Measure, file, is_program, required};

/// The version of the API server and of kubectl.
pub const KUBERNETES: &str = "1.36.3";
/// The version of etcd.
pub const ETCD: &str = "3.7.3";

/// A program that is compiled from a Go module.
#[derive(Debug)]
struct GoProgram {
    name: &'static str,
    version: &'static str,
    /// What `go build` is told to build, within the module.
    package: &'static str,
    /// The wrapper module: names and contents.
    module: &'static [(&'static str, &'static str)],
    ldflags: &'static str,
    /// About how many lines `go build -v` prints with empty caches (kubectl: after the API server), for the progress bar.
    packages: u64,
}

const ETCD_MODULE: &[(&str, &str)] = &[
    ("go.mod", include_str!("../../go/etcd/go.mod")),
    ("go.sum", include_str!("../../go/etcd/go.sum")),
    ("main.go", include_str!("../../go/etcd/main.go")),
];
const KUBERNETES_MODULE: &[(&str, &str)] = &[
    ("go.mod", include_str!("../../go/kubernetes/go.mod")),
    ("go.sum", include_str!("../../go/kubernetes/go.sum")),
];
/// Without the version, the API server would call itself v0.0.0.
const KUBERNETES_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
     -X k8s.io/component-base/version.gitTreeState=clean";

const PROGRAMS: [GoProgram; 3] = [
    GoProgram {
        name: "etcd",
        version: ETCD,
        package: ".",
        module: ETCD_MODULE,
        ldflags: "-s -w",
        packages: 620,
    },
    GoProgram {
        name: "kube-apiserver",
        version: KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        module: KUBERNETES_MODULE,
        ldflags: KUBERNETES_LDFLAGS,
        packages: 1900,
    },
    GoProgram {
        name: "kubectl",
        version: KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kubectl",
        module: KUBERNETES_MODULE,
        ldflags: KUBERNETES_LDFLAGS,
        packages: 210,
    },
];

/// The path of etcd. Like the other two, this blocks for minutes when the cache is empty.
pub fn etcd(cache: &Cache) -> Result<PathBuf, Error> {
    let [etcd, _, _] = &PROGRAMS;
    etcd.path(cache)
}

/// The path of the API server.
pub fn kube_apiserver(cache: &Cache) -> Result<PathBuf, Error> {
    let [_, apiserver, _] = &PROGRAMS;
    apiserver.path(cache)
}

/// The path of kubectl, which only the demo and a few tests need.
pub fn kubectl(cache: &Cache) -> Result<PathBuf, Error> {
    let [_, _, kubectl] = &PROGRAMS;
    kubectl.path(cache)
}

impl GoProgram {
    fn path(&self, cache: &Cache) -> Result<PathBuf, Error> {
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
