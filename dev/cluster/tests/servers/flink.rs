use std::time::{Duration, Instant};

use devcluster::{
    Flink, FlinkOptions, FlinkVersion,
    jars::{self, Ledger, STATE_MACHINE, TestJob},
};
use serde_json::{Value, json};

/// The few calls that these tests need.
struct Rest<'a> {
    flink: &'a Flink,
    http: reqwest::Client,
}

impl<'a> Rest<'a> {
    fn new(flink: &'a Flink) -> Self {
        devcluster::install_crypto();
        Self {
            flink,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.flink.rest_url())
    }

    async fn upload(&self, jar: &std::path::Path) -> String {
        let part = reqwest::multipart::Part::bytes(std::fs::read(jar).unwrap()).file_name("test.jar");
        let form = reqwest::multipart::Form::new().part("jarfile", part);
        let answer: Value = self
            .http
            .post(self.url("/jars/upload"))
            .multipart(form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["filename"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned()
    }

    async fn run(&self, jar: &str, class: &str, id: &str, args: &[&str]) -> Result<String, String> {
        let body = json!({"entryClass": class, "jobId": id, "programArgsList": args});
        let answer = self
            .http
            .post(self.url(&format!("/jars/{jar}/run")))
            .json(&body)
            .send()
            .await
            .unwrap();
        let (ok, answer) = (answer.status().is_success(), answer.json::<Value>().await.unwrap());
        if ok {
            Ok(answer["jobid"].as_str().unwrap().to_owned())
        } else {
            Err(answer.to_string())
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.http
            .get(self.url(path))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Asked of the Dispatcher itself: other answers may be three seconds old.
    async fn state(&self, id: &str) -> String {
        let status = self.get(&format!("/jobs/{id}/status")).await;
        status["status"].as_str().unwrap_or("absent").to_owned()
    }

    async fn reaches(&self, id: &str, state: &str) {
        let started = Instant::now();
        while self.state(id).await != state {
            assert!(
                started.elapsed() < Duration::from_secs(90),
                "{id} is {}, not {state}",
                self.state(id).await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn cancel(&self, id: &str) {
        let answer = self
            .http
            .patch(self.url(&format!("/jobs/{id}?mode=cancel")))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
        self.reaches(id, "CANCELED").await;
    }
}

fn id(number: u32) -> String {
    format!("feedbeef{number:024x}")
}

fn submissions(flink: &Flink, id: &str) -> usize {
    flink
        .submissions()
        .unwrap()
        .iter()
        .filter(|submission| submission.job_id == id)
        .count()
}

async fn example(version: FlinkVersion) {
    let flink = Flink::shared(version).await.unwrap();
    eprintln!("Flink {version} was ready after {:?}", flink.ready_after());
    let rest = Rest::new(flink);
    assert_eq!(rest.get("/config").await["flink-version"], version.as_str());
    let jar = rest.upload(&jars::example(version).await.unwrap()).await;
    assert_eq!(rest.run(&jar, STATE_MACHINE, &id(1), &[]).await.unwrap(), id(1));
    rest.reaches(&id(1), "RUNNING").await;
    let refused = rest.run(&jar, STATE_MACHINE, &id(1), &[]).await.unwrap_err();
    assert!(refused.contains("Duplicate"), "{refused}");
    rest.cancel(&id(1)).await;
    assert_eq!(submissions(flink, &id(1)), 1, "{:?}", flink.submissions());
    assert_eq!(
        flink
            .submissions()
            .unwrap()
            .iter()
            .find(|one| one.job_id == id(1))
            .unwrap()
            .job_name,
        "State machine job"
    );
}

#[tokio::test]
async fn runs_the_example_on_1_20() {
    example(FlinkVersion::V1_20).await;
}

#[tokio::test]
async fn runs_the_example_on_2_3() {
    example(FlinkVersion::V2_3).await;
}

async fn test_jobs(version: FlinkVersion) {
    let flink = Flink::shared(version).await.unwrap();
    let rest = Rest::new(flink);
    let jar = rest.upload(&jars::test_jobs(version).await.unwrap()).await;
    let ledger = Ledger::at(flink.directory().join("ledger"));
    let path = ledger.path().display().to_string();
    let run = async |number, job: TestJob, args: &[&str]| {
        let args = [&["--ledger", &path], args].concat();
        rest.run(&jar, &job.class(), &id(number), &args).await
    };

    run(10, TestJob::Counter, &[]).await.unwrap();
    rest.reaches(&id(10), "RUNNING").await;
    run(11, TestJob::Bounded, &[]).await.unwrap();
    rest.reaches(&id(11), "FINISHED").await;
    run(12, TestJob::Bounded, &["--seconds", "1"]).await.unwrap();
    rest.reaches(&id(12), "FINISHED").await;
    let duration = rest.get(&format!("/jobs/{}", id(12))).await["duration"]
        .as_u64()
        .unwrap();
    assert!((1000..4000).contains(&duration), "{duration} ms");
    let refused = run(13, TestJob::ThrowingMain, &[]).await.unwrap_err();
    assert!(refused.contains("main throws on purpose"), "{refused}");
    let refused = run(14, TestJob::NoExecute, &[]).await.unwrap_err();
    eprintln!("{version}, no execute: {refused:.300}");
    eprintln!(
        "{version}, two executes: {:.300?}",
        run(15, TestJob::TwoExecutes, &[]).await
    );
    let started = Instant::now();
    run(16, TestJob::SleepingMain, &["--sleep-seconds", "1"]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    rest.reaches(&id(16), "RUNNING").await;
    run(17, TestJob::FailingTask, &[]).await.unwrap();
    rest.reaches(&id(17), "FAILED").await;
    let cause = rest.get(&format!("/jobs/{}/exceptions", id(17))).await.to_string();
    assert!(cause.contains("the task fails on purpose after 0 records"), "{cause}");

    let mains = ledger.mains();
    assert_eq!(mains.iter().filter(|main| main.class == "BoundedJob").count(), 2);
    assert_eq!(
        mains.iter().find(|main| main.class == "ThrowingMain").unwrap().job_id,
        Some(id(13))
    );
    let starts = |number| {
        ledger
            .sources()
            .iter()
            .filter(|start| start.job_id == id(number))
            .count()
    };
    for (number, expected) in [(10, 1), (11, 1), (12, 1), (13, 0), (14, 0), (17, 1)] {
        assert_eq!(starts(number), expected, "job {number}: {:?}", ledger.sources());
    }
    for number in [10, 16] {
        rest.cancel(&id(number)).await;
    }
    if rest.state(&id(15)).await == "RUNNING" {
        rest.cancel(&id(15)).await;
    }
}

#[tokio::test]
async fn runs_the_test_jobs_on_1_20() {
    test_jobs(FlinkVersion::V1_20).await;
}

#[tokio::test]
async fn runs_the_test_jobs_on_2_3() {
    test_jobs(FlinkVersion::V2_3).await;
}

#[tokio::test]
async fn survives_what_is_done_to_its_processes() {
    let options = FlinkOptions {
        slots: 3,
        configuration: vec![("web.refresh-interval".to_owned(), "1234".to_owned())],
        ..FlinkOptions::default()
    };
    let flink = Flink::start(options).await.unwrap();
    let rest = Rest::new(&flink);
    assert_eq!(rest.get("/config").await["refresh-interval"], 1234);
    assert_eq!(rest.get("/overview").await["slots-total"], 3);

    flink.freeze_jobmanager().unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(300), rest.http.get(rest.url("/config")).send()).await;
    assert!(asked.is_err(), "a frozen JobManager answered");
    flink.thaw_jobmanager().unwrap();
    rest.get("/config").await;

    let url = flink.rest_url().to_owned();
    let jar = rest.upload(&jars::test_jobs(FlinkVersion::V2_3).await.unwrap()).await;
    rest.run(&jar, &TestJob::Counter.class(), &id(20), &[]).await.unwrap();
    flink.kill_jobmanager().unwrap();
    assert!(rest.http.get(rest.url("/config")).send().await.is_err());
    let started = Instant::now();
    flink.restart_jobmanager().await.unwrap();
    eprintln!("the JobManager was back after {:?}", started.elapsed());
    assert_eq!(flink.rest_url(), url);
    assert_eq!(rest.state(&id(20)).await, "absent");
    assert_eq!(submissions(&flink, &id(20)), 1, "what was accepted before stays known");

    let started = Instant::now();
    flink.restart_taskmanagers().await.unwrap();
    eprintln!("new TaskManagers were there after {:?}", started.elapsed());
    let jar = rest.upload(&jars::test_jobs(FlinkVersion::V2_3).await.unwrap()).await;
    rest.run(&jar, &TestJob::Counter.class(), &id(20), &[]).await.unwrap();
    rest.reaches(&id(20), "RUNNING").await;
    assert_eq!(submissions(&flink, &id(20)), 2);
}
