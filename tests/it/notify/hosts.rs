//! Receivers that hang, and the others.

use super::*;

#[tokio::test]
async fn a_hundred_hosts_that_hang_do_not_delay_the_one_that_answers() {
    let receiver = Receiver::start().await;
    let allowed: Vec<String> = (1..=101).map(|host| receiver.url(host, "/")).collect();
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let ground = Ground::with(&allowed, SystemLookup, |policy| {
        policy.limits.timeout = Duration::from_secs(60);
    });
    receiver.answers("/slow", vec![Answer::After(Duration::from_secs(60), 204); 1000]);
    for round in 0..3 {
        for host in 1..=100 {
            ground.tell(&format!("slow-{host}-{round}"), &receiver.url(host, "/slow"));
        }
    }
    let began = Instant::now();
    while receiver.requests("/slow").len() < 100 {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of 100 hang",
            receiver.requests("/slow").len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut worst = Duration::ZERO;
    for n in 1..=20 {
        let began = Instant::now();
        ground.tell(&format!("quick-{n}"), &receiver.url(101, "/quick"));
        ground.outcome("Delivered", n).await;
        worst = worst.max(began.elapsed());
    }
    assert!(worst < Duration::from_secs(10), "{worst:?}");
    assert_eq!(
        receiver.requests("/slow").len(),
        100,
        "one for each host that has not answered"
    );
}

#[tokio::test]
async fn a_host_that_hangs_is_given_up_and_tried_again() {
    let receiver = Receiver::start().await;
    let ground = Ground::with(&[&receiver.url(1, "/")], SystemLookup, |policy| {
        policy.limits.timeout = Duration::from_secs(2);
    });
    receiver.answers("/x", vec![Answer::After(PATIENCE, 204); 2]);
    let began = Instant::now();
    ground.tell("a", &receiver.url(1, "/x"));
    ground.outcome("Delivered", 1).await;
    assert_eq!(receiver.requests("/x").len(), 3);
    assert!(began.elapsed() > Duration::from_secs(4));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let host = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
            .await
            .unwrap();
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {
            count.fetch_add(1024, Ordering::Relaxed);
        }
    });
    let ground = Ground::new(&[&url]);
    let began = Instant::now();
    ground.tell("a", &url);
    ground.outcome("Delivered", 1).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The connection is closed: the host gets no further than the buffers of the system.
    tokio::time::timeout(PATIENCE, host).await.unwrap().unwrap();
    assert!(written.load(Ordering::Relaxed) < 64 << 20);
}

#[tokio::test]
async fn an_answer_whose_body_does_not_come_counts_as_it_is() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            count.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nx";
            stream.write_all(answer).await.unwrap();
            streams.push(stream);
        }
    });
    let ground = Ground::with(&[&url], SystemLookup, |policy| {
        policy.limits.timeout = Duration::from_secs(60);
    });
    ground.tell("a", &url);
    ground.outcome("Delivered", 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.unwrap() > 0 {
                if request.ends_with(b"}}") {
                    request.clear();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{}", "x".repeat(3000));
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    });
    let ground = Ground::new(&[&url]);
    for n in 1..=5 {
        ground.tell(&format!("job-{n}"), &url);
        ground.outcome("Delivered", n).await;
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_host_that_is_quick_gets_its_burst_and_then_its_rate() {
    let receiver = Receiver::start().await;
    let ground = Ground::with(&[&receiver.url(1, "/")], SystemLookup, |policy| {
        policy.limits.burst = 5;
        policy.limits.interval = Duration::from_millis(200);
    });
    let began = Instant::now();
    for n in 0..10 {
        ground.tell(&format!("job-{n}"), &receiver.url(1, "/x"));
    }
    ground.outcome("Delivered", 10).await;
    let requests = receiver.requests("/x");
    let spread = requests[9].at - began;
    assert!(spread >= Duration::from_millis(900), "{spread:?}");
}
