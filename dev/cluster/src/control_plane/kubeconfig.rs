//! Kubeconfig files.

use std::{fs, path::Path};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::Error;
use crate::{pki::Identity, process};

/// Writes a kubeconfig that holds all it needs, so that it can be copied anywhere. JSON, which is YAML as well.
pub(super) fn write(path: &Path, server: &str, ca: &str, user: &str, identity: &Identity) -> Result<(), Error> {
    let name = "devcluster";
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": base64(ca)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": base64(&identity.certificate),
            "client-key-data": base64(&identity.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    });
    Ok(fs::write(path, format!("{config:#}\n")).map_err(process::file("write the kubeconfig", path))?)
}

/// Kubernetes' own type for bytes is base64 in JSON.
fn base64(pem: &str) -> Value {
    json!(ByteString(pem.as_bytes().to_vec()))
}
