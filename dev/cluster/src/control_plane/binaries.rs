//! etcd, kube-apiserver and kubectl, compiled from their Go modules.
//!
//! Neither etcd nor Kubernetes can be installed by `go install` (Kubernetes' `go.mod` has replacements), so a wrapper
//! module for each pins their versions and those of all they need, see `dev/cluster/go`.

use std::path::PathBuf;

use crate::{
    cache::{Cache, Error},
    go_program::GoProgram,
};

/// The version of the API server and of kubectl.
pub const KUBERNETES: &str = "1.36.3";
/// The version of etcd.
pub const ETCD: &str = "3.7.3";

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
