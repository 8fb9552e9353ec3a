//! TLS and credentials: who is trusted, and who gets to see what.

use devcluster::{
    fake::{Action, FakeFlink, FakeOptions, FakeTls, Fault, Reply},
    pki::Authority,
};
use flink_job_operator::flink::{Auth, ClusterEndpoint, FlinkClient, FlinkError, Secret, Tls};

struct Secured {
    fake: FakeFlink,
    authority: Authority,
    others: Authority,
}

/// A fake with a certificate for `flink.example`, `localhost` and 127.0.0.1.
async fn secured(asks_for_clients: bool, authorization: Option<&str>) -> Secured {
    let (authority, others) = (Authority::new("ours").unwrap(), Authority::new("others").unwrap());
    let options = FakeOptions {
        tls: Some(FakeTls {
            identity: authority.server("flink", &["flink.example"]).unwrap(),
            client_ca_pem: asks_for_clients.then(|| authority.pem()),
        }),
        authorization: authorization.map(ToOwned::to_owned),
        ..FakeOptions::default()
    };
    let fake = FakeFlink::start(options).await.unwrap();
    Secured {
        fake,
        authority,
        others,
    }
}

impl Secured {
    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.fake.address().port())
    }

    fn trust(&self) -> Tls {
        Tls {
            ca_pem: Some(self.authority.pem().into()),
            ..Tls::default()
        }
    }
}

async fn ask(url: &str, auth: Auth, tls: Tls) -> Result<(), FlinkError> {
    let endpoint = ClusterEndpoint {
        auth,
        tls: Some(tls),
        ..ClusterEndpoint::new(url.parse().unwrap())
    };
    FlinkClient::new(&endpoint).unwrap().overview().await.map(|_| ())
}

#[tokio::test]
async fn only_the_named_authority_is_trusted() {
    let secured = secured(false, None).await;
    let url = secured.url("127.0.0.1");
    assert_eq!(ask(&url, Auth::None, secured.trust()).await, Ok(()));
    let distrust = Tls {
        ca_pem: Some(secured.others.pem().into()),
        ..Tls::default()
    };
    for tls in [distrust, Tls::default()] {
        let error = ask(&url, Auth::None, tls).await.unwrap_err();
        assert!(matches!(error, FlinkError::NotSent(_)), "{error:?}");
    }
    assert_eq!(secured.fake.total_requests(), 1, "there is no fallback");
}

#[tokio::test]
async fn a_server_name_replaces_the_host_in_the_check_and_not_in_the_connection() {
    let secured = secured(false, None).await;
    let named = |name: &str| Tls {
        server_name: Some(name.to_owned()),
        ..secured.trust()
    };
    for host in ["127.0.0.1", "localhost"] {
        let url = secured.url(host);
        assert_eq!(ask(&url, Auth::None, named("flink.example")).await, Ok(()), "{host}");
        let error = ask(&url, Auth::None, named("another.example")).await.unwrap_err();
        assert!(matches!(error, FlinkError::NotSent(_)), "{host}: {error:?}");
        assert!(
            error.to_string().contains(host),
            "the message names the address that the user wrote: {error}"
        );
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let secured = secured(true, None).await;
    let url = secured.url("127.0.0.1");
    let identity = secured.authority.client("operator", &[]).unwrap();
    let with_identity = Tls {
        client_cert_pem: Some(identity.certificate.into()),
        client_key_pem: Some(Secret::new(identity.key)),
        ..secured.trust()
    };
    assert_eq!(ask(&url, Auth::None, with_identity).await, Ok(()));
    let error = ask(&url, Auth::None, secured.trust()).await.unwrap_err();
    assert!(error.is_no_answer(), "{error:?}");
    assert_eq!(secured.fake.total_requests(), 1);
}

#[tokio::test]
async fn credentials_are_sent_and_their_refusal_is_told() {
    let secured = secured(false, Some("Basic b3BlcmF0b3I6c2VjcmV0LXBhc3N3b3Jk")).await;
    let url = secured.url("127.0.0.1");
    let basic = |password: &str| Auth::Basic {
        username: "operator".to_owned(),
        password: Secret::new(password),
    };
    assert_eq!(ask(&url, basic("secret-password"), secured.trust()).await, Ok(()));
    for auth in [basic("wrong"), Auth::Bearer(Secret::new("secret-password")), Auth::None] {
        let error = ask(&url, auth, secured.trust()).await.unwrap_err();
        assert!(matches!(error, FlinkError::Unauthorized(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_echoes_the_credentials_does_not_publish_them() {
    let secured = secured(false, None).await;
    let told = "you sent Bearer canary-token-1234 and Basic b3BlcmF0b3I6Y2FuYXJ5LXBhc3N3b3Jk or canary-password";
    let body = serde_json::json!({"errors": [told]}).to_string();
    secured
        .fake
        .inject(Fault::on("*", "*", Action::Answer(Reply::json(500, body))));
    let url = secured.url("127.0.0.1");
    let bearer = Auth::Bearer(Secret::new("canary-token-1234"));
    let error = ask(&url, bearer, secured.trust()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary-token"), "{error}");
    let basic = Auth::Basic {
        username: "operator".to_owned(),
        password: Secret::new("canary-password"),
    };
    let error = ask(&url, basic, secured.trust()).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(
        !told.contains("canary-password") && !told.contains("b3BlcmF0b3I6Y2FuYXJ5"),
        "{told}"
    );
}
