//! From a `FlinkSession` to a connection: Service, `FlinkDeployment`, credentials and certificates.

use k8s_openapi::api::core::v1::{Secret as KubeSecret, Service};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use url::Url;

use super::{
    allowed::endpoint_url,
    context::{API_DEADLINE, Context},
};
use crate::{
    api::{
        FlinkSession, Reason,
        keys::ALLOWED_HOST_ANNOTATION,
        session::{self, Endpoint, Scheme},
    },
    flink::{Auth, ClusterEndpoint, Secret, Tls},
    job::Refusal,
    kubernetes::{ApiError, UsableBy, secret_text, usable_secret, within},
    registry::Connection,
};

/// Where a session's cluster is.
#[derive(Debug)]
pub(super) enum Resolved {
    /// Here.
    At(Box<Connection>),
    /// That cannot be said.
    Not {
        /// Why.
        refusal: Refusal,
        /// It may be known later without a change of the session.
        transient: bool,
    },
}

fn not(reason: Reason, transient: bool, message: impl Into<String>) -> Resolved {
    Resolved::Not {
        refusal: Refusal::new(reason, message),
        transient,
    }
}

/// Either a value or the reason why there is none.
type Step<T> = Result<Result<T, Resolved>, ApiError>;

/// Unwraps a step, or returns its reason.
macro_rules! step {
    ($step:expr) => {
        match $step {
            Ok(value) => value,
            Err(resolved) => return Ok(resolved),
        }
    };
}

/// Finds out where a session's cluster is. Reads from the API server; nothing of it is watched.
pub(super) async fn resolve(ctx: &Context, session: &FlinkSession) -> Result<Resolved, ApiError> {
    let namespace = session.namespace().unwrap_or_default();
    let (url, endpoint) = match (&session.spec.endpoint, &session.spec.flink_deployment_ref) {
        (Some(endpoint), None) => (step!(of_endpoint(ctx, &namespace, endpoint).await?), Some(endpoint)),
        (None, Some(deployment)) => (step!(of_deployment(ctx, &namespace, &deployment.name).await?), None),
        (Some(_), Some(_)) | (None, None) => {
            return Ok(not(
                Reason::InvalidSpec,
                false,
                "set exactly one of spec.endpoint and spec.flinkDeploymentRef",
            ));
        }
    };
    let mut cluster = ClusterEndpoint::new(url);
    if let Some(auth) = endpoint.and_then(|endpoint| endpoint.auth.as_ref()) {
        cluster.auth = step!(auth_of(ctx, &namespace, auth, &cluster.url).await?);
    }
    if let Some(tls) = endpoint.and_then(|endpoint| endpoint.tls.as_ref()) {
        cluster.tls = Some(step!(tls_of(ctx, &namespace, tls).await?));
    }
    Ok(match Connection::new(cluster, &ctx.metrics) {
        Ok(connection) => Resolved::At(Box::new(connection)),
        Err(error) => not(Reason::InvalidSpec, false, error.to_string()),
    })
}

fn parsed(text: &str) -> Result<Url, Resolved> {
    Url::parse(text).map_err(|error| {
        not(
            Reason::InvalidSpec,
            false,
            format!("the cluster's address is no URL: {error}"),
        )
    })
}

async fn of_endpoint(ctx: &Context, namespace: &str, endpoint: &Endpoint) -> Step<Url> {
    let service = match (&endpoint.service_ref, &endpoint.url) {
        (Some(service), None) => service,
        (None, Some(url)) => {
            let checked = endpoint_url(url, &ctx.settings.allowed_endpoints);
            return Ok(checked.map_err(|message| not(Reason::InvalidSpec, false, message)));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Ok(Err(not(
                Reason::InvalidSpec,
                false,
                "set exactly one of serviceRef and url in spec.endpoint",
            )));
        }
    };
    let services: Api<Service> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(found) = within(API_DEADLINE, "get Service", services.get_opt(&service.name)).await? else {
        let message = format!(
            "Service {:?} does not exist in this namespace; the session is used when it appears",
            service.name
        );
        return Ok(Err(not(Reason::ClusterNotFound, true, message)));
    };
    let spec = found.spec.unwrap_or_default();
    // Either would let whoever writes Services here send the operator anywhere.
    if spec.type_.as_deref() == Some("ExternalName") || spec.selector.is_none_or(|selector| selector.is_empty()) {
        let message = format!(
            "Service {:?} is of type ExternalName or has no selector, so it can lead anywhere; use a Service that selects the \
             JobManager's pods, or spec.endpoint.url with the administrator's consent",
            service.name
        );
        return Ok(Err(not(Reason::InvalidSpec, false, message)));
    }
    let scheme = match service.scheme.unwrap_or_default() {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let domain = &ctx.settings.cluster_domain;
    Ok(parsed(&format!(
        "{scheme}://{}.{namespace}.svc.{domain}:{}/",
        service.name,
        service.port.unwrap_or(8081)
    )))
}

async fn of_deployment(ctx: &Context, namespace: &str, name: &str) -> Step<Url> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("flink.apache.org", "v1beta1", "FlinkDeployment"));
    let deployments: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &kind);
    let found = match within(API_DEADLINE, "get FlinkDeployment", deployments.get_opt(name)).await {
        Ok(found) => found,
        Err(error) if error.is_forbidden() => {
            let message =
                "the operator may not read FlinkDeployments; grant it get on flinkdeployments.flink.apache.org";
            return Ok(Err(not(Reason::Unauthorized, true, message)));
        }
        Err(error) => return Err(error),
    };
    let Some(found) = found else {
        let message =
            format!("FlinkDeployment {name:?} does not exist in this namespace; the session is used when it appears");
        return Ok(Err(not(Reason::ClusterNotFound, true, message)));
    };
    if found.data.pointer("/spec/job").is_some_and(|job| !job.is_null()) {
        let message =
            format!("FlinkDeployment {name:?} is an application cluster (it has spec.job); name a session cluster");
        return Ok(Err(not(Reason::InvalidSpec, false, message)));
    }
    let ready = found
        .data
        .pointer("/status/jobManagerDeploymentStatus")
        .and_then(|status| status.as_str());
    if ready != Some("READY") {
        let message = format!(
            "the JobManager of FlinkDeployment {name:?} is {}, not READY; the session is used when it is",
            ready.unwrap_or("not deployed yet")
        );
        return Ok(Err(not(Reason::WaitingForCluster, true, message)));
    }
    let domain = &ctx.settings.cluster_domain;
    Ok(parsed(&format!("http://{name}-rest.{namespace}.svc.{domain}:8081/")))
}

async fn secret(ctx: &Context, namespace: &str, name: &str) -> Step<KubeSecret> {
    let found = usable_secret(&ctx.client, API_DEADLINE, namespace, name, UsableBy::Sessions).await?;
    Ok(found.map_err(|unusable| not(unusable.reason(), true, unusable.to_string())))
}

fn text(secret: &KubeSecret, key: &str) -> Result<String, Resolved> {
    secret_text(secret, key).ok_or_else(|| {
        let message = format!("Secret {:?} has no text under the key {key:?}", secret.name_any());
        not(Reason::ReferenceNotFound, true, message)
    })
}

async fn auth_of(ctx: &Context, namespace: &str, auth: &session::Auth, url: &Url) -> Step<Auth> {
    let name = match (&auth.basic_secret_ref, &auth.bearer_secret_ref) {
        (Some(basic), None) => &basic.name,
        (None, Some(bearer)) => &bearer.name,
        (Some(_), Some(_)) | (None, None) => {
            return Ok(Err(not(
                Reason::InvalidSpec,
                false,
                "set exactly one of basicSecretRef and bearerSecretRef",
            )));
        }
    };
    let found = match secret(ctx, namespace, name).await? {
        Ok(found) => found,
        Err(resolved) => return Ok(Err(resolved)),
    };
    let host = url.host_str().unwrap_or_default();
    if found
        .annotations()
        .get(ALLOWED_HOST_ANNOTATION)
        .is_none_or(|allowed| allowed != host)
    {
        // Without this, whoever writes a FlinkSession could have the credentials sent to a server of their own.
        let message = format!(
            "Secret {name:?} does not allow its credentials to be sent to {host}; its owner allows it with: kubectl annotate \
             secret {name} --namespace {namespace} {ALLOWED_HOST_ANNOTATION}={host}"
        );
        return Ok(Err(not(Reason::Unauthorized, true, message)));
    }
    let read = match &auth.bearer_secret_ref {
        Some(bearer) => text(&found, &bearer.key).map(|token| Auth::Bearer(Secret::new(token))),
        None => text(&found, "username").and_then(|username| {
            text(&found, "password").map(|password| Auth::Basic {
                username,
                password: Secret::new(password),
            })
        }),
    };
    Ok(read)
}

async fn tls_of(ctx: &Context, namespace: &str, tls: &session::Tls) -> Step<Tls> {
    let mut settings = Tls {
        server_name: tls.server_name.clone(),
        ..Tls::default()
    };
    if let Some(authorities) = &tls.ca_secret_ref {
        match secret(ctx, namespace, &authorities.name)
            .await?
            .and_then(|found| text(&found, "ca.crt"))
        {
            Ok(pem) => settings.ca_pem = Some(pem.into_bytes()),
            Err(resolved) => return Ok(Err(resolved)),
        }
    }
    if let Some(certificate) = &tls.client_cert_secret_ref {
        let pair = secret(ctx, namespace, &certificate.name).await?.and_then(|found| {
            text(&found, "tls.crt").and_then(|chain| text(&found, "tls.key").map(|key| (chain, key)))
        });
        match pair {
            Ok((chain, key)) => {
                settings.client_cert_pem = Some(chain.into_bytes());
                settings.client_key_pem = Some(Secret::new(key));
            }
            Err(resolved) => return Ok(Err(resolved)),
        }
    }
    Ok(Ok(settings))
}
