//! The CRD manifests, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{FlinkSession, FlinkSessionJob, Savepoint};

/// Every CRD, in the order of their names.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [FlinkSessionJob::crd(), FlinkSession::crd(), Savepoint::crd()]
        .into_iter()
        .map(finish)
        .collect()
}

/// What the derive macro cannot say.
///
/// The default of `status` makes kstatus report a just created resource as InProgress instead of Current; the explicit
/// conversion strategy avoids a diff under server-side apply; Flux must not substitute `${…}` in the descriptions.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.conversion = Some(CustomResourceConversion {
        strategy: "None".to_owned(),
        webhook: None,
    });
    let annotations = crd.metadata.annotations.get_or_insert_default();
    annotations.insert(
        "kustomize.toolkit.fluxcd.io/substitute".to_owned(),
        "disabled".to_owned(),
    );
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
            status.nullable = None;
        }
    }
    crd
}

/// The manifest as YAML.
///
/// # Errors
/// Only if the CRD cannot be serialised, which a test excludes for every CRD of this version.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(crd)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the manifest of a CRD is kept.
    fn path(crd: &CustomResourceDefinition) -> std::path::PathBuf {
        let file = format!("{}.yaml", crd.metadata.name.as_deref().unwrap());
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file)
    }

    #[test]
    fn the_manifests_in_crds_are_those_of_the_types() {
        for crd in all() {
            let yaml = to_yaml(&crd).unwrap();
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(path(&crd), &yaml).unwrap();
            }
            let kept = std::fs::read_to_string(path(&crd)).unwrap_or_default();
            assert!(
                kept == yaml,
                "{} is not what the types say: BLESS=1 cargo test writes it",
                path(&crd).display()
            );
            assert!(
                yaml.len() < 250_000,
                "kubectl apply keeps the manifest in an annotation of at most 256 KiB"
            );
        }
    }

    #[test]
    fn every_field_has_a_description() {
        fn walk(at: &str, schema: &serde_json::Value) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let described = property["description"].is_string() || at.is_empty();
                assert!(described, "{at}.{name} has no description");
                walk(&format!("{at}.{name}"), property);
                walk(&format!("{at}.{name}[]"), &property["items"]);
            }
        }
        for crd in all() {
            for version in crd.spec.versions {
                walk(
                    "",
                    &serde_json::to_value(version.schema.unwrap().open_api_v3_schema).unwrap(),
                );
            }
        }
    }
}
