//! What a job's author must not reach through the operator.

use std::path::Path;

use devcluster::jar_host::{Fault, NAME};
use flink_job_operator::{
    api::Reason,
    artifact::{ArtifactError, ArtifactPolicy, Fetcher, JarSource, JarUri, stub_jar},
};

use super::{Ground, Names, RawHost, error_of, source};

/// Places on the inside, in all the ways that somebody may write them.
const INSIDE: &[&str] = &[
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "https://169.254.169.254/latest/api/token",
    "https://169.254.170.2/v2/credentials",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[::ffff:169.254.169.254]/latest/",
    "https://[64:ff9b::a9fe:a9fe]/latest/",
    "https://100.100.100.200/latest/meta-data/",
    "https://168.63.129.16/metadata",
    "https://192.0.0.192/latest/",
    "https://2852039166/latest/",
    "https://0xA9FEA9FE/latest/",
    "https://0251.0376.0251.0376/latest/",
    "https://0xa9.254.0251.254/latest/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://metadata.example/latest/",
    "https://127.0.0.1/x.jar",
    "https://127.1/x.jar",
    "https://127.0.1/x.jar",
    "https://2130706433/x.jar",
    "https://017700000001/x.jar",
    "https://0x7f000001/x.jar",
    "https://0x7f.0.0.1/x.jar",
    "https://127.0.0.1./x.jar",
    "https://１２７.０.０.１/x.jar",
    "https://127。0。0。1/x.jar",
    "https://%31%32%37.0.0.1/x.jar",
    "https://[::1]/x.jar",
    "https://[0:0:0:0:0:0:0:1]/x.jar",
    "https://[::ffff:127.0.0.1]/x.jar",
    "https://[::ffff:7f00:1]/x.jar",
    "https://[::127.0.0.1]/x.jar",
    "https://[2002:7f00:1::]/x.jar",
    "https://[2001:0:7f00:1::]/x.jar",
    "https://localhost/x.jar",
    "https://LOCALHOST./x.jar",
    "https://a.localhost/x.jar",
    "https://0.0.0.0/x.jar",
    "https://0/x.jar",
    "https://[::]/x.jar",
    "https://10.0.0.1/x.jar",
    "https://172.16.0.1/x.jar",
    "https://172.31.255.255/x.jar",
    "https://192.168.1.1/x.jar",
    "https://100.64.0.1/x.jar",
    "https://198.18.0.1/x.jar",
    "https://192.0.2.1/x.jar",
    "https://224.0.0.1/x.jar",
    "https://240.0.0.1/x.jar",
    "https://255.255.255.255/x.jar",
    "https://[fc00::1]/x.jar",
    "https://[fe80::1]/x.jar",
    "https://[fec0::1]/x.jar",
    "https://[ff02::1]/x.jar",
    "https://[2606::5efe:10.0.0.1]/x.jar",
    "https://kubernetes/api",
    "https://kubernetes.default/api",
    "https://kubernetes.default.svc/api",
    "https://kubernetes.default.svc.cluster.local/api",
    "https://10.96.0.1/api/v1/secrets",
    "https://inside.example/x.jar",
    "https://mixed.example/x.jar",
    "https://six.example/x.jar",
    "https://user:pw@repo.example/x.jar",
    "https://repo.example@10.0.0.1/x.jar",
    "https://repo.example\\@10.0.0.1/x.jar",
    "https:10.0.0.1/x.jar",
    "https:////10.0.0.1/x.jar",
    "https://repo.example:22/x.jar",
    "https://repo.example:6443/x.jar",
    "https://repo.example/x.jar#y",
    "https://repo.example/../x.jar",
    "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
    "file://localhost/etc/passwd",
    "FILE:/etc/passwd",
    "local:///opt/flink/usrlib/x.jar",
    "/etc/passwd",
    "../../etc/passwd",
    "jar:file:///etc/passwd!/x",
    "gopher://127.0.0.1:6379/_x",
    "ftp://repo.example/x.jar",
    "dict://127.0.0.1:11211/x",
    "data:application/java-archive;base64,UEs=",
    "s3://some-bucket/x.jar",
    "s3://169.254.169.254/x.jar",
];

fn names() -> Names {
    let names = Names::default();
    for (name, addresses) in [
        ("metadata.example", &["169.254.169.254"][..]),
        ("inside.example", &["10.1.2.3"]),
        ("mixed.example", &["93.184.216.34", "127.0.0.1"]),
        ("six.example", &["::ffff:10.0.0.1"]),
        ("metadata.google.internal", &["169.254.169.254"]),
        ("kubernetes.default", &["10.96.0.1"]),
    ] {
        names.answer(name, addresses);
    }
    names
}

/// Everything open that an administrator can open without naming a place.
fn lenient(folder: &Path) -> ArtifactPolicy {
    let mut policy = ArtifactPolicy::new(folder);
    policy.allow_http = true;
    policy
}

#[tokio::test]
async fn nothing_on_the_inside_is_fetched() {
    assert!(INSIDE.len() >= 40);
    let folder = tempfile::tempdir().unwrap();
    for policy in [ArtifactPolicy::new(folder.path()), lenient(folder.path())] {
        let fetcher = Fetcher::with_lookup(policy, names()).unwrap();
        for text in INSIDE {
            let error = match JarUri::parse(text) {
                Ok(uri) => {
                    let wanted = JarSource {
                        namespace: "team-a".into(),
                        uri,
                        sha256: None,
                    };
                    fetcher.fetch(&wanted).await.expect_err(text)
                }
                Err(error) => error.into(),
            };
            assert!(
                matches!(error.reason(), Reason::InvalidSpec | Reason::ArtifactForbidden),
                "{text}: {error}"
            );
            assert!(error.is_permanent(), "{text}: {error}");
            assert!(!error.to_string().contains("pw"), "{text}: {error}");
        }
    }
}

#[tokio::test]
async fn no_redirect_leads_inside() {
    let ground = Ground::new();
    let wanted = source(&ground.host.url("/x.jar?sig=s3cr3t"));
    let inner = RawHost::start("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let ports = [80, 443, inner.address.port()];
    let mut policy = ArtifactPolicy {
        ports: ports.into(),
        ..ground.policy.clone()
    };
    policy.allow_http = true;
    let fetcher = Fetcher::with_lookup(policy, names()).unwrap();
    let own = inner.url("/x.jar");
    // Relative texts are redirects within the host, and fragments are dropped, as the web does.
    let within = |text: &&&str| !text.starts_with('/') && !text.starts_with("..") && !text.contains('#');
    let inside = INSIDE
        .iter()
        .filter(within)
        .filter(|text| text.is_ascii() && !text.ends_with("/../x.jar"));
    for location in inside.copied().chain([own.as_str()]) {
        ground.host.fault("/x.jar", Fault::Redirect(location.to_owned()));
        let error = error_of(&ground, &fetcher, &wanted).await;
        if location.contains("https:10.0.0.1") {
            // Relative to http:, where the web reads it as a path.
            continue;
        }
        assert_eq!(
            (error.reason(), error.is_permanent()),
            (Reason::ArtifactForbidden, true),
            "{location}: {error}"
        );
        assert!(
            error.to_string().contains("redirects, but") && !error.to_string().contains("s3cr3t"),
            "{error}"
        );
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn redirects_are_followed_three_times_and_never_out_of_https() {
    let ground = Ground::new();
    ground.host.serve("/x.jar", stub_jar());
    let fetcher = ground.fetcher();
    for (from, to) in [("/1", "/2"), ("/2", "/3"), ("/3", "/4")] {
        ground.host.fault(from, Fault::Redirect(to.to_owned()));
    }
    ground.host.fault("/4", Fault::Redirect("x.jar".to_owned()));
    let error = error_of(&ground, &fetcher, &source(&ground.host.url("/1"))).await;
    assert!(error.to_string().contains("more than 3 times"), "{error}");
    let direct = fetcher.fetch(&source(&ground.host.url("/2"))).await.unwrap();
    assert!(!direct.is_revalidated());
    assert!(
        fetcher
            .fetch(&source(&ground.host.url("/2")))
            .await
            .unwrap()
            .is_revalidated()
    );

    // The condition goes only to the place that gave the tag.
    let asked = ground.host.requests();
    let conditional = asked
        .iter()
        .filter(|request| request.headers.iter().any(|(name, _)| name == "if-none-match"));
    assert!(conditional.map(|request| request.path.as_str()).eq(["/x.jar"]));

    ground.host.fault("/down", Fault::Redirect(ground.host.url("/x.jar")));
    let error = fetcher
        .fetch(&source(&ground.host.https_url("/down")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("leaves https"), "{error}");
    ground
        .host
        .fault("/up", Fault::Redirect(ground.host.https_url("/x.jar")));
    assert!(fetcher.fetch(&source(&ground.host.url("/up"))).await.is_ok());
    ground.host.fault("/loop", Fault::Redirect("/loop".to_owned()));
    assert!(
        fetcher
            .fetch(&source(&ground.host.url("/loop")))
            .await
            .unwrap_err()
            .is_permanent()
    );
    ground
        .host
        .fault("/bad", Fault::Redirect("https://u:pw@h.example/x".to_owned()));
    let error = fetcher.fetch(&source(&ground.host.url("/bad"))).await.unwrap_err();
    assert!(
        matches!(error, ArtifactError::Redirect { .. }) && !error.to_string().contains("pw"),
        "{error}"
    );
}

/// The name of the jar host, whose address 127.0.0.1 the administrator opened; other loopback addresses are closed.
fn named(ground: &Ground, names: &Names) -> (Fetcher, JarSource) {
    ground.host.serve("/x.jar", stub_jar());
    let port = ground.host.https_address().port();
    let mut policy = ArtifactPolicy {
        ports: vec![port],
        ..ground.policy.clone()
    };
    policy.allowed.clear();
    policy.networks.push("127.0.0.1/32".parse().unwrap());
    let fetcher = Fetcher::with_lookup(policy, names.clone()).unwrap();
    (fetcher, source(&format!("https://{NAME}:{port}/x.jar")))
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_each_time() {
    let ground = Ground::new();
    let names = Names::default();
    for address in ["127.0.0.1", "127.0.0.2", "127.0.0.1", "169.254.169.254"] {
        names.answer(NAME, &[address]);
    }
    let (fetcher, wanted) = named(&ground, &names);
    // One lookup for one connection: there is no second answer to be had between the check and the connection.
    assert!(fetcher.fetch(&wanted).await.is_ok());
    assert_eq!((names.asked(), ground.host.requests().len()), (1, 1));
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    assert!(error.to_string().contains("loopback address 127.0.0.2"), "{error}");
    assert!(fetcher.fetch(&wanted).await.unwrap().is_revalidated());
    let error = fetcher.fetch(&wanted).await.unwrap_err();
    assert!(
        error.to_string().contains("link-local address 169.254.169.254"),
        "{error}"
    );
    assert_eq!(error.reason(), Reason::ArtifactForbidden);
    assert_eq!((names.asked(), ground.host.requests().len()), (4, 2));
}

#[tokio::test]
async fn one_closed_address_closes_the_name() {
    let ground = Ground::new();
    let names = Names::default();
    names.answer(NAME, &["127.0.0.1", "10.0.0.1"]);
    let (fetcher, wanted) = named(&ground, &names);
    let error = error_of(&ground, &fetcher, &wanted).await;
    assert!(error.to_string().contains("private address 10.0.0.1"), "{error}");
    assert!(ground.host.requests().is_empty());
}

#[tokio::test]
async fn a_prefix_opens_its_own_paths_and_namespaces_only() {
    let ground = Ground::new();
    ground.host.serve("/team-a/x.jar", stub_jar());
    ground.host.serve("/team-b/x.jar", stub_jar());
    let prefix = format!("team-a={}", ground.host.url("/team-a/"));
    let fetcher = ground.fetcher_with(|policy| {
        policy.allow_http = true;
        policy.ports.clear();
        policy.allowed = vec![prefix.parse().unwrap()];
    });
    let wanted = source(&ground.host.url("/team-a/x.jar"));
    assert!(fetcher.fetch(&wanted).await.is_ok());
    let other = JarSource {
        namespace: "team-b".into(),
        ..wanted
    };
    for closed in [
        other,
        source(&ground.host.url("/team-b/x.jar")),
        source(&ground.host.https_url("/team-a/x.jar")),
    ] {
        assert_eq!(
            fetcher.fetch(&closed).await.unwrap_err().reason(),
            Reason::ArtifactForbidden
        );
    }
    ground
        .host
        .fault("/team-a/y.jar", Fault::Redirect("/team-b/x.jar".into()));
    let sideways = fetcher.fetch(&source(&ground.host.url("/team-a/y.jar"))).await;
    assert_eq!(sideways.unwrap_err().reason(), Reason::ArtifactForbidden);
    assert_eq!(ground.host.count("/team-b/x.jar", 200), 0);
}
