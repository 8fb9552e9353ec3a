use std::time::{Duration, Instant};

use bytes::Bytes;
use devcluster::{
    JarHost,
    jar_host::{Fault, NAME},
};
use reqwest::{Client, StatusCode, header};

const PATH: &str = "/jobs/a.jar";

fn host() -> JarHost {
    devcluster::install_crypto();
    let host = JarHost::start().unwrap();
    host.serve(PATH, "the content of a jar");
    host
}

fn client() -> reqwest::ClientBuilder {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

#[tokio::test]
async fn serves_with_an_etag_and_counts() {
    let (host, client) = (host(), client().build().unwrap());
    let answer = client.get(host.url("/jobs/a.jar?version=1")).send().await.unwrap();
    let etag = answer.headers()[header::ETAG].clone();
    assert_eq!(answer.text().await.unwrap(), "the content of a jar");
    let same = client
        .get(host.url(PATH))
        .header(header::IF_NONE_MATCH, &etag)
        .send()
        .await
        .unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    host.serve(PATH, "another content");
    let other = client
        .get(host.url(PATH))
        .header(header::IF_NONE_MATCH, &etag)
        .send()
        .await
        .unwrap();
    assert_eq!(other.text().await.unwrap(), "another content");
    let head = client.head(host.url(PATH)).send().await.unwrap();
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "15");
    assert_eq!(
        client.get(host.url("/nothing")).send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        (host.count(PATH, 200), host.count(PATH, 304), host.requests().len()),
        (3, 1, 5)
    );
    assert_eq!(host.requests()[0].query, "version=1");
}

#[tokio::test]
async fn speaks_tls_with_its_own_authority() {
    let host = host();
    assert!(
        client()
            .build()
            .unwrap()
            .get(host.https_url(PATH))
            .send()
            .await
            .is_err(),
        "an unknown authority"
    );
    let ca = reqwest::Certificate::from_pem(&std::fs::read(host.ca_file()).unwrap()).unwrap();
    let client = client()
        .tls_certs_only([ca])
        .resolve(NAME, host.https_address())
        .build()
        .unwrap();
    let by_name = format!("https://{NAME}:{}{PATH}", host.https_address().port());
    for url in [host.https_url(PATH), by_name] {
        assert_eq!(
            client.get(url).send().await.unwrap().text().await.unwrap(),
            "the content of a jar"
        );
    }
    assert!(host.requests().iter().all(|request| request.tls));
}

#[tokio::test]
async fn misbehaves_on_request() {
    let (host, client) = (host(), client().build().unwrap());
    let get = || async { client.get(host.url(PATH)).send().await.unwrap() };

    host.fault(PATH, Fault::Status(403));
    assert_eq!(get().await.status(), StatusCode::FORBIDDEN);
    host.fault(PATH, Fault::Redirect("http://10.0.0.1/".to_owned()));
    assert_eq!(get().await.headers()[header::LOCATION], "http://10.0.0.1/");
    host.fault(PATH, Fault::OtherContent(Bytes::from_static(b"wrong")));
    assert_eq!(get().await.text().await.unwrap(), "wrong");
    host.fault(PATH, Fault::ContentLength(1000));
    assert!(get().await.bytes().await.is_err());
    host.fault(PATH, Fault::Truncate(5));
    assert!(get().await.bytes().await.is_err());

    let started = Instant::now();
    host.fault(PATH, Fault::Delay(Duration::from_millis(200)));
    get().await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    let started = Instant::now();
    host.fault(PATH, Fault::Drip(40)); // 20 bytes in pieces of 2
    assert_eq!(get().await.text().await.unwrap(), "the content of a jar");
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );

    host.fault(PATH, Fault::Endless);
    let mut endless = get().await;
    let mut received = 0;
    while received < 10_000_000 {
        received += endless.chunk().await.unwrap().unwrap().len();
    }
    drop(endless);
    host.mend(PATH);
    assert_eq!(get().await.text().await.unwrap(), "the content of a jar");
}
