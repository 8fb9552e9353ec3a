//! What the client makes of servers that are broken, slow, or not Flink at all. What it cannot know, it must not claim.

use std::time::{Duration, Instant};

use devcluster::{
    fake::{Action, FakeFlink, FakeOptions, Fault, Reply},
    jars::TestJob,
    port,
};
use flink_job_operator::flink::{ClusterEndpoint, FlinkClient, FlinkError, JarContent, JarId, JobId, RunReply};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::target::{new_id, request};

const RUN: &str = "/jars/:jarid/run";
const OVERVIEW: &str = "/jobs/overview";
const SOON: Duration = Duration::from_millis(400);

async fn fake() -> (FakeFlink, FlinkClient) {
    let fake = FakeFlink::start(FakeOptions::default()).await.unwrap();
    let client = client(&fake.url());
    (fake, client)
}

fn client(url: &str) -> FlinkClient {
    FlinkClient::new(&ClusterEndpoint::new(url.parse().unwrap())).unwrap()
}

async fn jar(client: &FlinkClient) -> JarId {
    let content = JarContent::from_bytes("PK".into());
    client.upload_jar("any.jar", content).await.unwrap().id
}

async fn run(client: &FlinkClient, jar: &JarId, id: JobId) -> Result<RunReply, FlinkError> {
    client.run_jar(jar, &request(id, TestJob::Counter, &[]), SOON).await
}

/// The classes of errors, one run for each fault; and whether the job was started is what the fake says, not the client.
#[tokio::test]
async fn an_interrupted_run_is_unknown_whether_or_not_it_had_its_effect() {
    let (fake, client) = fake().await;
    let jar = jar(&client).await;
    let cases: [(Action, &str, bool); 8] = [
        (Action::Drop, "lost", false),
        (Action::HandleThenDrop, "lost", true),
        (Action::Hang, "timeout", false),
        (Action::HandleThenHang, "timeout", true),
        (Action::Truncate(10), "lost", true),
        (Action::Drip(Duration::from_millis(50)), "timeout", true),
        (Action::Endless, "too_large", false),
        (Action::HandleThenAnswer(Reply::html(200)), "not_flink", true),
    ];
    for (action, class, started) in cases {
        let what = format!("{action:?}");
        let fault = fake.inject(Fault::on("POST", RUN, action));
        let id = new_id();
        let error = run(&client, &jar, id).await.unwrap_err();
        assert_eq!(
            (error.class(), error.proves_no_effect()),
            (class, false),
            "{what}: {error}"
        );
        assert_eq!(
            (fault.hits(), fake.starts(id) == 1),
            (1, started),
            "{what}: sent once, never retried"
        );
        fault.remove();
    }
}

#[tokio::test]
async fn every_status_has_its_meaning_whatever_the_body() {
    let (fake, client) = fake().await;
    let jar = jar(&client).await;
    let flinks_own =
        r#"{"errors":["org.apache.flink.X: no\n\tat a.b.C(D.java:1)\nCaused by: java.io.IOException: root"]}"#;
    for (status, html, json) in [
        (302, "not_flink", "not_flink"),
        (400, "not_flink", "rejected"),
        (401, "unauthorized", "unauthorized"),
        (403, "unauthorized", "unauthorized"),
        (404, "not_flink", "rejected"),
        (409, "not_flink", "conflict"),
        (429, "unavailable", "unavailable"),
        (500, "not_flink", "rejected"),
        (502, "lost", "lost"),
        (503, "unavailable", "unavailable"),
        (504, "lost", "lost"),
        (200, "not_flink", "not_flink"),
        (202, "not_flink", "not_flink"),
    ] {
        for (reply, expected) in [(Reply::html(status), html), (Reply::json(status, flinks_own), json)] {
            let fault = fake.inject(Fault::on("POST", RUN, Action::Answer(reply)));
            let error = run(&client, &jar, new_id()).await.unwrap_err();
            assert_eq!(error.class(), expected, "{status}: {error}");
            assert!(!error.message().contains("at a.b.C"), "{error}");
            fault.remove();
        }
    }
}

/// A missing job is a claim that only Flink can make.
#[tokio::test]
async fn a_foreign_404_is_not_a_missing_job() {
    let (fake, client) = fake().await;
    for reply in [
        Reply::html(404),
        Reply::json(404, r#"{"error":"not found"}"#),
        Reply::json(404, ""),
    ] {
        let fault = fake.inject(Fault::on("*", "/jobs/:jobid", Action::Answer(reply)));
        let job = client.job(new_id()).await.unwrap_err();
        let cancel = client.cancel(new_id()).await.unwrap_err();
        assert_eq!((job.class(), cancel.class()), ("not_flink", "not_flink"));
        fault.remove();
    }
}

/// A list that cannot be read in full is no list: a job that is missing in it would be taken for lost.
#[tokio::test]
async fn a_damaged_job_list_is_no_job_list() {
    let (fake, client) = fake().await;
    let id = fake.add_foreign_job("foreign");
    let nested = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let bodies: Vec<Vec<u8>> = [
        r#"{"jobs":null}"#,
        r#"{"jobs":{}}"#,
        r"{}",
        r"[]",
        r#"{"jobs":[{"jid":"zz","state":"RUNNING"}]}"#,
        r#"{"jobs":[{"state":"RUNNING"}]}"#,
        r#"{"jobs":[{"jid":"00000000000000000000000000000001"}]}"#,
        r#"{"jobs":[{"jid":"00000000000000000000000000000001","state":7}]}"#,
        r#"{"jobs":[{"jid":"00000000000000000000000000000001","state":"RUNNING","start-time":NaN}]}"#,
        r#"{"jobs":[]} trailing"#,
        r#"{"errors":["Something else"]}"#,
        "\u{feff}{\"jobs\":[]}",
        "",
        nested.as_str(),
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .chain([b"{\"jobs\":[\xff\xfe]}".to_vec(), vec![0; 100]])
    .collect();
    for body in bodies {
        let what = String::from_utf8_lossy(&body).chars().take(80).collect::<String>();
        let fault = fake.inject(Fault::on("GET", OVERVIEW, Action::Answer(Reply::garbage(200, body))));
        let error = client.jobs_overview().await.unwrap_err();
        assert_eq!(error.class(), "not_flink", "{what}: {error}");
        fault.remove();
    }
    let jobs = client.jobs_overview().await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn unknown_words_and_fields_do_no_harm() {
    let (fake, client) = fake().await;
    let body = r#"{"jobs":[{"new":{"a":[1,{}]},"jid":"00000000000000000000000000000001","name":"\ud83d\ude00","state":"HIBERNATING"}],"more":1}"#;
    fake.inject(Fault::on("GET", OVERVIEW, Action::Answer(Reply::json(200, body))));
    let jobs = client.jobs_overview().await.unwrap();
    assert_eq!(jobs[0].state, flink_job_operator::flink::JobState::Unknown);
    assert!(!jobs[0].state.is_globally_terminal());
}

#[tokio::test]
async fn a_slow_drip_and_a_flood_end_in_time_and_memory() {
    let (fake, client) = fake().await;
    let flood = fake.inject(Fault::on("GET", OVERVIEW, Action::Endless));
    let began = Instant::now();
    let error = client.jobs_overview().await.unwrap_err();
    assert_eq!(error.class(), "too_large");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    flood.remove();
    fake.inject(Fault::on("GET", "/overview", Action::Drip(Duration::from_secs(1))));
    let began = Instant::now();
    let error = client.overview().await.unwrap_err();
    assert_eq!(error.class(), "timeout");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// A redirect could lead the credentials, or a submission, to another host.
#[tokio::test]
async fn redirects_are_not_followed() {
    let (fake, client) = fake().await;
    let (other, _) = self::fake().await;
    let jar = jar(&client).await;
    fake.inject(Fault::on(
        "*",
        "*",
        Action::Answer(Reply::redirect(&format!("{}/jobs/overview", other.url()))),
    ));
    assert_eq!(client.jobs_overview().await.unwrap_err().class(), "not_flink");
    assert_eq!(run(&client, &jar, new_id()).await.unwrap_err().class(), "not_flink");
    assert_eq!(other.total_requests(), 0);
}

#[tokio::test]
async fn nothing_that_did_not_connect_was_sent() {
    let closed = port::Closed::take().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let jar = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_any.jar".parse().unwrap();
    for url in [
        format!("http://{}", closed.address()),
        "http://no-such-host.invalid:8081".to_owned(),
        format!("https://{no_tls}"),
    ] {
        let run = request(new_id(), TestJob::Counter, &[]);
        let error = client(&url)
            .run_jar(&jar, &run, Duration::from_secs(20))
            .await
            .unwrap_err();
        assert!(
            matches!(error, FlinkError::NotSent(_)) && error.proves_no_effect(),
            "{url}: {error:?}"
        );
    }
}

/// A full accept queue: the connection never comes up, and that takes five seconds, not the deadline of the call.
#[tokio::test]
async fn a_connection_that_does_not_come_up_was_not_sent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue does not fill");
    }
    let jar = "b8a1b5ce-38ab-4bd8-a76f-9d4d02c0d2b9_any.jar".parse().unwrap();
    let run = request(new_id(), TestJob::Counter, &[]);
    let began = Instant::now();
    let error = client(&format!("http://{address}"))
        .run_jar(&jar, &run, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(matches!(error, FlinkError::NotSent(_)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// Servers that do not speak HTTP, or overdo it.
#[tokio::test]
async fn junk_below_http_is_survived() {
    let header_bomb = format!("HTTP/1.1 200 OK\r\n{}", "x-bomb: yes\r\n".repeat(200_000));
    let long_header = format!("HTTP/1.1 200 OK\r\nx-long: {}", "y".repeat(4 << 20));
    let promise = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nx", u64::MAX);
    for junk in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.0 junk\r\n\r\n",
        &header_bomb,
        &long_header,
        &promise,
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reply = junk.to_owned();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        let what: String = junk.chars().take(40).collect();
        let error = client(&format!("http://{address}")).jobs_overview().await.unwrap_err();
        assert!(
            error.is_no_answer() && !matches!(error, FlinkError::NotSent(_)),
            "{what}: {error:?}"
        );
    }
}

/// What a server says reaches logs and statuses: one short line, nothing that moves the cursor.
#[tokio::test]
async fn what_a_server_says_is_made_harmless() {
    let (fake, client) = fake().await;
    let told = format!(
        "\u{1b}[2Jline\r\nfeed \u{202e}{} https://user:password@host/",
        "x".repeat(100_000)
    );
    let body = serde_json::json!({"errors": [told]}).to_string();
    fake.inject(Fault::on("GET", OVERVIEW, Action::Answer(Reply::json(500, body))));
    let error = client.jobs_overview().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.chars().count() <= 256 && text.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "{text:?}"
    );
    assert!(!format!("{error:?}").contains("password"), "{error:?}");
}

/// Ten thousand jobs are one request and no strain.
#[tokio::test]
async fn ten_thousand_jobs_are_listed() {
    let (fake, client) = fake().await;
    for n in 0..10_000_u32 {
        assert!(fake.add_job(format!("{n:032x}"), "one of many"));
    }
    let jobs = client.jobs_overview().await.unwrap();
    assert_eq!((jobs.len(), fake.total_requests()), (10_000, 1));
}
