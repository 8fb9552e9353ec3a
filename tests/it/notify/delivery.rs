//! What a receiver gets, and how often.

use axum::http::{Method, header};

use super::*;

#[tokio::test]
async fn a_receiver_gets_the_event() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    ground.tell("a", &receiver.url(1, "/hooks/t0ken?x=%20y"));
    ground.outcome("Delivered", 1).await;
    let requests = receiver.requests("/hooks/t0ken?x=%20y");
    let [request] = requests.as_slice() else {
        panic!("{} requests", requests.len())
    };
    assert_eq!(request.method, Method::POST);
    assert_eq!(request.headers[header::CONTENT_TYPE], "application/cloudevents+json");
    assert!(
        request.headers[header::USER_AGENT]
            .to_str()
            .unwrap()
            .starts_with("flink-job-operator/")
    );
    let event = &request.body;
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "dev.flinkjobs.job.jobfailed");
    assert_eq!(
        event["source"],
        "/apis/flinkjobs.dev/v1alpha1/namespaces/etl/flinksessionjobs/a"
    );
    assert_eq!(event["data"]["message"], "it failed");
}

#[tokio::test]
async fn a_receiver_that_fails_for_a_while_gets_the_same_event_in_the_end() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    receiver.answers("/x", [503, 500, 502, 429].map(Answer::Status));
    ground.tell("a", &receiver.url(1, "/x"));
    ground.outcome("Delivered", 1).await;
    let requests = receiver.requests("/x");
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
}

#[tokio::test]
async fn a_receiver_that_fails_for_ever_is_asked_five_times() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    receiver.answers("/x", [503; 9].map(Answer::Status));
    ground.tell("a", &receiver.url(1, "/x"));
    ground.outcome("Failed", 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.requests("/x").len(), 5);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_tried_again() {
    let closed = devcluster::port::Closed::take().unwrap();
    let url = format!("http://{}/", closed.address());
    let ground = Ground::new(&[&url]);
    ground.tell("a", &url);
    ground.outcome("Failed", 1).await;
}

#[tokio::test]
async fn what_a_receiver_does_not_want_is_not_sent_again() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    for (n, status) in (1..).zip([400, 401, 404, 408, 410, 415]) {
        let path = format!("/{status}");
        receiver.answers(&path, [Answer::Status(status)]);
        ground.tell(&format!("job-{status}"), &receiver.url(1, &path));
        ground.outcome("Refused", n).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(receiver.requests(&path).len(), 1);
    }
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_honoured() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    let busy = Answer::Header(429, header::RETRY_AFTER, "2".to_owned());
    receiver.answers("/x", [busy]);
    ground.tell("a", &receiver.url(1, "/x"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    // For whatever else goes there, too.
    ground.tell("b", &receiver.url(1, "/y"));
    ground.outcome("Delivered", 2).await;
    let (x, y) = (receiver.requests("/x"), receiver.requests("/y"));
    assert_eq!((x.len(), y.len()), (2, 1));
    let left_alone = |at: Instant| at - x[0].at;
    assert!(
        left_alone(x[1].at) >= Duration::from_secs(2),
        "{:?}",
        left_alone(x[1].at)
    );
    assert!(
        left_alone(y[0].at) >= Duration::from_secs(2),
        "{:?}",
        left_alone(y[0].at)
    );
}

#[tokio::test]
async fn the_same_occurrence_is_sent_once() {
    let receiver = Receiver::start().await;
    let ground = Ground::new(&[&receiver.url(1, "/")]);
    ground.tell("a", &receiver.url(1, "/x"));
    ground.outcome("Delivered", 1).await;
    ground.tell("a", &receiver.url(1, "/x"));
    ground.tell("a", &receiver.url(1, "/x"));
    ground.tell("b", &receiver.url(1, "/x"));
    let began = Instant::now();
    while receiver.requests("/x").len() < 2 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let requests = receiver.requests("/x");
    assert_eq!((requests.len(), ground.count("Repeated")), (2, 2));
    // Another process would send the same id.
    let other = Ground::new(&[&receiver.url(1, "/")]);
    other.tell("a", &receiver.url(1, "/x"));
    other.outcome("Delivered", 1).await;
    let requests = receiver.requests("/x");
    assert_eq!(requests[2].body["id"], requests[0].body["id"]);
    assert_ne!(requests[1].body["id"], requests[0].body["id"]);
}

#[tokio::test]
async fn what_waits_at_shutdown_is_still_sent_when_that_is_quick() {
    let receiver = Receiver::start().await;
    let mut ground = Ground::new(&[&receiver.url(1, "/")]);
    for n in 0..5 {
        ground.tell(&format!("job-{n}"), &receiver.url(1, "/x"));
    }
    ground.shutdown.cancel();
    (&mut ground.courier).await.unwrap();
    assert_eq!(receiver.requests("/x").len(), 5);
    let began = Instant::now();
    let mut ground = Ground::new(&[&receiver.url(1, "/")]);
    receiver.answers("/slow", [Answer::After(PATIENCE, 204)]);
    ground.tell("a", &receiver.url(1, "/slow"));
    ground.shutdown.cancel();
    (&mut ground.courier).await.unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
